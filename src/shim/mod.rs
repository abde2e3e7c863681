//! The shim: the task service, and everything that decides.
//!
//! - What it is called with: [`args`], [`bootstrap`]; and what it does then: [`start`], [`delete`], [`info`], [`server`] until [`idle`].
//! - A call's way in: [`listener`], [`methods`], [`service`], [`registry`], then [`create`] or a [`task`]'s actor, which
//!   asks [`lifecycle`] what may be done and has it done by [`call`], [`stdio`] and [`rootfs`].
//! - A fact's way out: [`reaper`], the [`task`]'s actor, [`exit`] (on disk), [`publisher`] with its [`outbox`] (to the manager).
//! - Beside both: [`reopen`], for who renames logs.
//! - Between: [`convert`], [`error`], [`logger`], and [`dump`] of all that into the log.

pub mod args;
pub mod bootstrap;
pub mod call;
pub mod convert;
pub mod create;
pub mod delete;
pub mod dump;
pub mod error;
pub mod exit;
pub mod idle;
pub mod info;
pub mod lifecycle;
pub mod listener;
pub mod logger;
pub mod methods;
pub mod outbox;
pub mod publisher;
pub mod reaper;
pub mod registry;
pub mod reopen;
pub mod rootfs;
pub mod server;
pub mod service;
pub mod start;
pub mod stdio;
pub mod task;
