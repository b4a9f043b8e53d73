//! What verify finds in small repositories, and what it says that costs.

mod costs;
mod damage;
mod hidden;
mod left_overs;
mod proofs;
mod records;
mod scene;
mod segments;
