//! The repository format against its document: the recipe without pgv, the golden repositories, every byte by the
//! book, and the refusal of what is newer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, clippy::cast_possible_truncation)]

mod by_the_book;
mod document;
mod fixture;
mod golden;
mod listing;
mod newer;
mod recipe;
mod sealing;
