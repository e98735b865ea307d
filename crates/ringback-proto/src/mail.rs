//! E-mail without a socket: what is sent, what counts as the text of what comes, and the answers of
//! the servers in between.
//!
//! A mail is somebody's noise until a seal in it opens: nothing here believes a header, reads a
//! date, opens an attachment or renders HTML, and nothing is ever answered. Every function takes
//! any octets, looks at a bounded number of them and never fails worse than by finding nothing.
//!
//! [`letter`] and [`reply`] are what submission needs (RFC 6409), [`imap`] and [`bookmark`] what a
//! mailbox needs (RFC 3501), [`text`] is what is made of a mail (RFC 2045, 2046).

pub mod account;
pub mod bookmark;
pub mod imap;
pub mod letter;
pub mod reply;
pub mod text;
mod transfer;
