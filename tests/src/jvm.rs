//! Apache Kafka itself, from Maven Central, as a witness of what our bytes mean.
//!
//! Needs `java` (17 or later, a JDK) and `mvn`; where they are missing, a test says so and ends. The jars lie in Maven's
//! own repository, the classpath in the user's cache folder; nothing is written into the checkout.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

/// Kafka's classes, ready to run.
#[derive(Debug)]
pub struct Jvm {
    classpath: String,
}

/// What a program said.
#[derive(Debug)]
pub struct Said {
    /// Its standard output.
    pub out: String,
    /// Its standard error: Kafka's log lines of level `error`, stack traces.
    pub err: String,
}

impl Jvm {
    /// The classes, fetched on first use (some 150 MB); `None`, and a line that says so, where there is no JVM.
    ///
    /// # Panics
    ///
    /// If Maven is there but cannot fetch them.
    pub fn find() -> Option<&'static Jvm> {
        static JVM: OnceLock<Option<Jvm>> = OnceLock::new();
        let jvm = JVM.get_or_init(|| {
            let is_there = |tool: &str| Command::new(tool).arg("-version").output().is_ok();
            (is_there("java") && is_there("mvn")).then(|| Jvm { classpath: classpath() })
        });
        if jvm.is_none() {
            crate::skipped("this test asks Apache Kafka's own code, which needs `java` and `mvn` on the path");
        }
        jvm.as_ref()
    }

    /// Where Kafka's classes are, as `java -cp` wants it.
    #[must_use]
    pub fn classpath(&self) -> &str {
        &self.classpath
    }

    /// Runs a class of Kafka's, or a source file of ours (a path that ends in `.java`).
    ///
    /// # Panics
    ///
    /// If the program cannot be started or ends with an error. Beware: several of Kafka's tools report what they find
    /// on standard output and end with 0 all the same.
    pub fn run<A: AsRef<OsStr>>(&self, program: &str, args: &[A]) -> Said {
        let output = self.command(program, args).output().expect("java was started before");
        said(program, output)
    }

    /// What starts a class of Kafka's, or a source file of ours.
    pub fn command<A: AsRef<OsStr>>(&self, program: &str, args: &[A]) -> Command {
        let mut command = Command::new("java");
        command
            // Short runs: compile little, start fast.
            .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"])
            .args(["-cp", &self.classpath, program])
            .args(args);
        command
    }
}

/// Our Java sources.
#[must_use]
pub fn source(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("jvm").join(name);
    path.into_os_string().into_string().expect("the checkout's path is text")
}

fn said(program: &str, output: Output) -> Said {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let said = Said { out: text(output.stdout), err: text(output.stderr) };
    assert!(output.status.success(), "{program} ended with {}:\n{}\n{}", output.status, said.out, said.err);
    said
}

fn classpath() -> String {
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("jvm/pom.xml");
    let mut hasher = DefaultHasher::new();
    fs::read(&pom).expect("jvm/pom.xml is part of the package").hash(&mut hasher);
    let cache = cache_directory();
    fs::create_dir_all(&cache).expect("the cache folder can be made");
    let list = cache.join(format!("classpath-{:016x}", hasher.finish()));

    // Tests run at the same time, in several processes: one fetches, the others wait.
    let lock = File::create(cache.join("lock")).expect("a file in the cache folder can be made");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("a file can be locked");
    if let Ok(classpath) = fs::read_to_string(&list)
        && env::split_paths(&classpath).all(|jar| jar.exists())
    {
        return classpath;
    }
    eprintln!("fetching Apache Kafka from Maven Central (once)");
    let fetched = cache.join("classpath.new");
    let output = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(&pom)
        .arg("dependency:build-classpath")
        .arg(format!("-Dmdep.outputFile={}", fetched.display()))
        .output()
        .expect("mvn was started before");
    said("mvn", output);
    fs::rename(&fetched, &list).expect("mvn has written the classpath");
    fs::read_to_string(&list).expect("it was just written")
}

fn cache_directory() -> PathBuf {
    let given = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = given("XDG_CACHE_HOME").or_else(|| given("HOME").map(|home| home.join(".cache")));
    cache.unwrap_or_else(env::temp_dir).join("kafka-streams-rust-tests")
}
