//! The documents against the code: the recipe without pgv, the golden repositories, every byte by the book, the refusal
//! of what is newer, and links that lead somewhere.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, clippy::cast_possible_truncation)]
#![allow(clippy::print_stdout)]

#[path = "../support/mod.rs"]
mod support;

mod by_hand;
mod by_the_book;
mod document;
mod fixture;
mod golden;
mod golden_marks;
mod golden_server;
mod links;
mod listing;
mod many;
mod newer;
mod recipe;
mod sealing;
mod sweep;
mod swept;
mod verified;
