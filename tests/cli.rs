//! The command line against a real supervisor.
#![cfg(test)]

mod support;
