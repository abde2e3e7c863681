//! The command line: a client of the supervisor's socket.
