//! Security: privileges, and attacks on them.

mod access;
mod attacks;
mod injection;
mod plain_text;
mod privileges;
