//! The system calls that the driver may make, as a seccomp filter.
//!
//! The list has the calls that the driver makes in the kernel tests, and calls that its libraries
//! make on paths that these tests seldom take. `docs/security.md` lists the calls by purpose, and
//! names the calls that are refused.

use std::collections::BTreeMap;
use std::io;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use crate::error::{Error, ErrorKind, Result};

/// The result of limiting system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemCalls {
    /// All calls outside the list fail with `ENOSYS` from now on.
    Limited,
    /// This kernel was built without `CONFIG_SECCOMP_FILTER`.
    Unlimited,
}

/// A call with any arguments.
const ALLOWED: &[libc::c_long] = &[
    // Memory and threads.
    libc::SYS_brk,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_gettid,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    // Signals.
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Time, random numbers, and information about the system.
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_nanosleep,
    libc::SYS_prlimit64,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    // Files.
    libc::SYS_close,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_faccessat,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getxattr,
    libc::SYS_ioctl,
    libc::SYS_listxattr,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_sendfile,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_symlinkat,
    libc::SYS_syncfs,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
    libc::SYS_write,
    libc::SYS_writev,
    // Mounts, by file descriptor; the older mount(2) is not used.
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_umount2,
    // Open sockets.
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_socketpair,
];

/// Older forms of the above, which newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[libc::c_long] = &[
    libc::SYS_access,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_dup2,
    libc::SYS_epoll_wait,
    libc::SYS_lchown,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_mknod,
    libc::SYS_open,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_stat,
    libc::SYS_symlink,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[libc::c_long] = &[];

/// Local sockets, IP, and netlink, which a resolver uses to list addresses.
const SOCKET_FAMILIES: [libc::c_int; 4] =
    [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Limits this thread, and threads that it starts from now on, to the system calls that the driver
/// needs. All others fail with `ENOSYS`, as on a kernel without the call, which libraries can
/// handle. This cannot be undone.
pub fn limit_system_calls() -> Result<SystemCalls> {
    let program = filter().map_err(|error| failed(&error))?;
    match seccompiler::apply_filter(&program) {
        Ok(()) => Ok(SystemCalls::Limited),
        Err(seccompiler::Error::Seccomp(error)) if is_unknown(&error) => Ok(SystemCalls::Unlimited),
        Err(error) => Err(failed(&error)),
    }
}

fn failed(error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Internal, "limit the system calls of", "this process", error.to_string())
        .remedy("run the driver with `--no-seccomp`, and report this")
}

fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL))
}

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<_, _> =
        ALLOWED.iter().chain(ALLOWED_HERE).map(|&number| (number, Vec::new())).collect();
    // A thread, not a process. The flags of clone3(2) are in memory, where no filter sees them;
    // without clone3, the C library uses this call.
    let thread = libc::CLONE_THREAD as u64;
    rules.insert(libc::SYS_clone, vec![when(0, SeccompCmpOp::MaskedEq(thread), thread)?]);
    // The name of a thread.
    rules.insert(libc::SYS_prctl, vec![when(0, SeccompCmpOp::Eq, libc::PR_SET_NAME as u64)?]);
    // Ending itself, by abort(3).
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, vec![when(0, SeccompCmpOp::Eq, own)?]);
    let families = SOCKET_FAMILIES.map(|family| when(0, SeccompCmpOp::Eq, family as u64));
    rules.insert(libc::SYS_socket, families.into_iter().collect::<Result<_, _>>()?);
    let missing = SeccompAction::Errno(libc::ENOSYS as u32);
    let architecture = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, missing, SeccompAction::Allow, architecture)?.try_into()
}

/// A rule on the lower half of an argument.
fn when(
    argument: u8,
    compare: SeccompCmpOp,
    value: u64,
) -> Result<SeccompRule, seccompiler::BackendError> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value)?;
    SeccompRule::new(vec![condition])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `check` in a limited thread. `check` must not panic, since a panic may look for files
    /// with debug information.
    fn limited<T: Send + 'static>(check: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = std::thread::spawn(|| {
            assert_eq!(limit_system_calls().expect("a filter"), SystemCalls::Limited);
            check()
        });
        thread.join().expect("no panic")
    }

    #[test]
    fn no_program_is_started() {
        let error = limited(|| std::process::Command::new("true").status().err());
        assert_eq!(error.and_then(|error| error.raw_os_error()), Some(libc::ENOSYS));
    }

    #[test]
    fn files_threads_and_sockets_work() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        let content = limited(move || {
            std::fs::write(&path, b"content")?;
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            std::net::TcpStream::connect(listener.local_addr()?)?;
            std::thread::Builder::new()
                .name("reader".into())
                .spawn(move || std::fs::read(path))?
                .join()
                .expect("no panic")
        });
        assert_eq!(content.expect("all of it works"), b"content");
    }

    /// What an import of compressed images does, in memory: the decoders must ask for nothing else.
    #[test]
    fn decoders_work() {
        use std::io::{Read as _, Write as _};

        let content = vec![7; 3 << 20];
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        gzip.write_all(&content).and_then(|()| bzip2.write_all(&content)).expect("compressed");
        let gzip = gzip.finish().expect("a file");
        let bzip2 = bzip2.finish().expect("a file");
        let zstd = zstd::encode_all(&content[..], 1).expect("a file");
        let xz = std::fs::read(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fuzz/corpus/compressed/xz-streams"
        ))
        .expect("the fuzzer's corpus");
        let lengths = limited(move || {
            let mut files: [Box<dyn std::io::Read>; 4] = [
                Box::new(flate2::bufread::MultiGzDecoder::new(&gzip[..])),
                Box::new(bzip2::bufread::MultiBzDecoder::new(&bzip2[..])),
                Box::new(zstd::stream::read::Decoder::with_buffer(&zstd[..])?),
                Box::new(lzma_rust2::XzReader::new(&xz[..], true)),
            ];
            let lengths = files.each_mut().map(|file| file.read_to_end(&mut Vec::new()).ok());
            std::io::Result::Ok(lengths)
        });
        let [gzip, bzip2, zstd, xz] = lengths.expect("all of them work");
        assert_eq!([gzip, bzip2, zstd], [Some(content.len()); 3]);
        assert!(xz.is_some_and(|length| length > 0));
    }

    #[test]
    fn a_service_manager_can_be_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let manager = std::os::unix::net::UnixDatagram::bind(&path).expect("a socket");
        let told = limited(move || {
            let socket = std::os::unix::net::UnixDatagram::unbound()?;
            socket.connect(path)?;
            socket.send(b"READY=1")
        });
        assert_eq!(told.expect("it is told"), 7);
        let mut message = [0; 7];
        manager.recv(&mut message).expect("a message");
        assert_eq!(&message, b"READY=1");
    }

    #[test]
    fn other_kinds_of_socket_are_missing() {
        let error = limited(|| {
            rustix::net::socket(
                rustix::net::AddressFamily::PACKET,
                rustix::net::SocketType::DGRAM,
                None,
            )
            .err()
        });
        assert_eq!(error, Some(rustix::io::Errno::NOSYS));
    }
}
