//! Retention: what the plan promises, and that doing it keeps the promises.

mod doing;
mod done;
mod history;
mod lost;
mod model;
mod oracle;
mod plans;
