//! Exports and imports that fail or die at each call to the machine: no half snapshot counts, and nothing leaks.

use std::fs;

use calf::{ExportSpec, Pool, SnapshotImportSpec};
use calf_test_kit::simulated_pool::{Environment, FAILURES, spec, unless_crashed};

use super::pools::{Pools, delta, full, import, shown};
use super::written;

/// The streams that the failing calls import, and what snapshots of them show.
struct Streams {
    base: Vec<u8>,
    later: Vec<u8>,
    shown: [Vec<u8>; 2],
}

impl Streams {
    fn new() -> Self {
        let pools = Pools::new();
        pools.volume(&spec("v"));
        pools.snapshot(&written(&[(1, 4)]), "less");
        pools.snapshot(&written(&[(3, 1), (9, 2)]), "a");
        // What comes upon the base takes something away, too.
        let (base, later) = (full(&pools.here, "a"), delta(&pools.here, "a", "less"));
        let shown = ["a", "less"].map(|name| shown(&pools.here, name));
        Self { base, later, shown }
    }

    fn run(&self, pool: &Pool) -> calf::Result<()> {
        import(pool, "a", &self.base)?;
        import(pool, "b", &self.later)?;
        let mut again = Vec::new();
        let spec = ExportSpec::new("b").base("a".to_owned());
        pool.export_snapshot(&spec, &mut again, &mut |_| ())?;
        let spec = SnapshotImportSpec::new("c").base("a".to_owned());
        pool.import_snapshot(&spec, &mut &again[..], &mut |_| ()).map(drop)
    }

    /// Every snapshot that exists is whole, and nothing else is there.
    fn check(&self, pool: &Pool, context: &str) {
        assert!(pool.damage().expect("damage").is_empty(), "{context}");
        let snapshots = pool.snapshots().expect("snapshots");
        let directories = fs::read_dir(pool.root().join("snapshots"));
        assert_eq!(directories.map_or(0, Iterator::count), snapshots.len(), "{context}");
        for snapshot in snapshots {
            let name = &snapshot.record.name;
            let expected = &self.shown[usize::from(name != "a")];
            assert!(shown(pool, name) == *expected, "{context}: {name}");
        }
    }

    /// Makes the `n`-th call fail; returns whether there are that many.
    fn fails_well(&self, n: u64, failure: calf::sys::fake::Failure, unshared: bool) -> bool {
        let context = format!("{failure:?} at call {n}");
        let again = |pool: &Pool| {
            self.run(pool).unwrap_or_else(|error| panic!("{context}: {error:?}"));
            self.check(pool, &context);
            assert_eq!(pool.snapshots().expect("snapshots").len(), 3, "{context}");
        };
        let fail = || {
            let environment = Environment::new();
            environment.host.without_reflink(unshared);
            let pool = environment.pool();
            environment.host.fail_at(n, failure);
            let outcome = unless_crashed(|| self.run(&pool));
            let happened = environment.host.heal();
            if !happened {
                outcome.expect("no failure, no crash").expect("no failure, no error");
            }
            (environment, happened)
        };
        // A restart, and then the same calls.
        let (environment, happened) = fail();
        let pool = environment.mended_pool(&context);
        self.check(&pool, &context);
        again(&pool);
        // The same calls, without a restart.
        if happened {
            again(&fail().0.pool());
        }
        happened
    }
}

fn survives(unshared: bool) {
    let streams = Streams::new();
    for failure in FAILURES {
        let mut n = 1;
        while streams.fails_well(n, failure, unshared) {
            n += 1;
        }
        assert!(n > 60, "{failure:?}: only {n} calls, so it did not run");
    }
}

#[test]
fn an_import_survives_failure_at_every_call() {
    survives(false);
}

#[test]
fn an_import_without_shared_blocks_survives_failure_at_every_call() {
    survives(true);
}
