//! What makes this extension a good citizen of its server: settings, processes and the wake-up between them, and how it
//! works inside a user's session: with whose rights, how long, and without ending his transaction.

pub mod attempt;
pub mod here;
pub mod launcher;
pub mod news;
pub mod origin;
pub mod patience;
pub mod pins;
pub mod planned;
pub mod planner;
pub mod process;
pub mod refusal;
pub mod report;
pub mod rights;
pub mod settings;
pub mod wake;
pub mod warning;
