//! Unit tests of the kernel-test kit. Its test targets have no test harness of their own.

mod kit;
