//! A root file system in memory, with a handful of this machine's programs and their libraries.
//!
//! The format is `cpio -H newc`, as the kernel's early user space documentation describes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const SYMLINK: u32 = 0o120_777;

/// The file at a path of the new root.
pub enum Entry {
    Directory,
    /// A copy of this file of the host.
    File(PathBuf),
    Symlink(PathBuf),
}

pub struct Initramfs {
    /// Sorted, so that a directory precedes its content.
    entries: BTreeMap<PathBuf, Entry>,
}

impl Initramfs {
    pub fn new() -> Self {
        let mut root = Self { entries: BTreeMap::new() };
        for dir in ["/dev", "/proc", "/sys", "/run", "/tmp", "/etc", "/usr/bin", "/usr/sbin"] {
            root.add_directories(Path::new(dir));
        }
        // Debian's /bin, /lib and others are symlinks into /usr.
        for name in ["/bin", "/sbin", "/lib", "/lib32", "/lib64"] {
            match fs::read_link(name) {
                Ok(target) => {
                    root.add_directories(&Path::new("/").join(&target));
                    root.entries.insert(name.into(), Entry::Symlink(target));
                }
                Err(_) => root.add_directories(Path::new(name)),
            }
        }
        root
    }

    /// A file at its own path.
    pub fn add_file(&mut self, file: &Path) -> Result<(), String> {
        let failed = |error| format!("cannot add {} to the guest: {error}", file.display());
        let content = file.canonicalize().map_err(failed)?;
        let parent = file.parent().unwrap_or(Path::new("/")).canonicalize().map_err(failed)?;
        self.add_directories(&parent);
        let name = file.file_name().unwrap_or_default();
        self.entries.insert(parent.join(name), Entry::File(content));
        Ok(())
    }

    /// This machine's file at another path, without symlinks on the way to it.
    pub fn add_file_as(&mut self, file: &Path, path: &Path) {
        self.add_directories(path.parent().unwrap_or(Path::new("/")));
        self.entries.insert(path.into(), Entry::File(file.into()));
    }

    /// The files, for archives of other formats: a directory precedes its content.
    pub fn entries(&self) -> impl Iterator<Item = (&Path, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_path(), entry))
    }

    /// A file with the shared libraries that it needs.
    pub fn add_program(&mut self, file: &Path) -> Result<(), String> {
        self.add_file(file)?;
        let output = Command::new("ldd").arg(file).output();
        let output = output.map_err(|error| format!("cannot start ldd: {error}"))?;
        // A static program, or a file that is not a program, has no libraries, and ldd reports an
        // error.
        for library in libraries(&String::from_utf8_lossy(&output.stdout)) {
            self.add_file(&library)?;
        }
        Ok(())
    }

    /// Adds busybox, under the name of each common command that is missing.
    pub fn add_busybox(&mut self, file: &Path) -> Result<(), String> {
        self.add_program(file)?;
        let output = Command::new(file).arg("--list").output();
        let output = output.map_err(|error| format!("cannot start busybox: {error}"))?;
        let present: BTreeSet<_> = self
            .entries
            .keys()
            .filter_map(|path| path.file_name().map(|name| name.to_owned()))
            .collect();
        for applet in String::from_utf8_lossy(&output.stdout).lines() {
            if !present.contains(std::ffi::OsStr::new(applet)) {
                let link = Path::new("/usr/bin").join(applet);
                self.entries.insert(link, Entry::Symlink(file.into()));
            }
        }
        Ok(())
    }

    fn add_directories(&mut self, path: &Path) {
        for dir in path.ancestors().filter(|dir| *dir != Path::new("/")) {
            self.entries.entry(dir.into()).or_insert(Entry::Directory);
        }
    }

    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut archive = BufWriter::new(File::create(path)?);
        for (inode, (path, entry)) in self.entries.iter().enumerate() {
            let name = path.strip_prefix("/").unwrap_or(path).as_os_str().as_bytes();
            match entry {
                Entry::Directory => header(&mut archive, inode, DIRECTORY, 0, name)?,
                Entry::Symlink(target) => {
                    let target = target.as_os_str().as_bytes();
                    header(&mut archive, inode, SYMLINK, target.len() as u64, name)?;
                    archive.write_all(target)?;
                    pad(&mut archive, target.len() as u64)?;
                }
                Entry::File(file) => {
                    let length = fs::metadata(file)?.len();
                    header(&mut archive, inode, PROGRAM, length, name)?;
                    io::copy(&mut File::open(file)?, &mut archive)?;
                    pad(&mut archive, length)?;
                }
            }
        }
        header(&mut archive, 0, 0, 0, b"TRAILER!!!")?;
        archive.flush()
    }
}

/// The header of one member and its name, padded to four bytes.
fn header(
    to: &mut impl Write,
    inode: usize,
    mode: u32,
    length: u64,
    name: &[u8],
) -> io::Result<()> {
    let length = u32::try_from(length).map_err(|_| io::Error::other("a file of 4 GiB or more"))?;
    // Inode, mode, uid, gid, links, mtime, length, device (2), special device (2), name length, checksum.
    let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
    let name_length = name.len() as u32 + 1;
    let fields = [inode as u32, mode, 0, 0, links, 0, length, 0, 0, 0, 0, name_length, 0];
    to.write_all(b"070701")?;
    for field in fields {
        write!(to, "{field:08x}")?;
    }
    to.write_all(name)?;
    to.write_all(&[0])?;
    // The header's own 110 bytes count.
    pad(to, 110 + u64::from(name_length))
}

fn pad(to: &mut impl Write, length: u64) -> io::Result<()> {
    let missing = length.next_multiple_of(4) - length;
    to.write_all(&[0; 3][..missing as usize])
}

/// The paths in the output of `ldd`: `name => /path (0x…)`, or `/path (0x…)`.
fn libraries(ldd: &str) -> Vec<PathBuf> {
    let words = ldd.lines().flat_map(str::split_whitespace);
    words.filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_ldd() {
        let text =
            "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/libc.so.6 (0x2)\n\t/lib64/ld.so (0x3)\n";
        assert_eq!(libraries(text), [Path::new("/lib/libc.so.6"), Path::new("/lib64/ld.so")]);
    }

    #[test]
    fn members_are_aligned_to_four_bytes() {
        let mut archive = Vec::new();
        header(&mut archive, 1, PROGRAM, 5, b"a/b").unwrap();
        assert_eq!(archive.len() % 4, 0);
        assert!(archive.starts_with(b"070701"));
        assert_eq!(&archive[110..114], b"a/b\0");
    }
}
