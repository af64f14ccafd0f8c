//! Compiles `proto/` without `protoc`, and notes the commit for `--version`.

#![allow(clippy::disallowed_methods, reason = "Cargo speaks to build scripts through the environment")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use protox::file::{ChainFileResolver, DescriptorSetFileResolver, GoogleFileResolver, IncludeFileResolver};
use protox::prost_reflect::prost::Message as _;
use protox::prost_reflect::prost_types::FileDescriptorSet;

const PROTO: &str = "ecrbroker/v1/registry_credentials.proto";

/// Not imported by ours, but part of the descriptor set, so that reflection can tell clients how to decode error details.
const ERROR_DETAILS: &str = "google/rpc/error_details.proto";

/// Messages whose derived `Debug` would print a password; `src/pb.rs` writes theirs by hand.
const SECRET: [&str; 1] = ["ecrbroker.v1.RegistryCredentials"];

fn main() -> Result<(), Box<dyn Error>> {
    compile_proto()?;
    note_commit();
    note_features();
    Ok(())
}

/// The `google/rpc` imports come out of the descriptor set that `tonic-types` carries, the well-known types out of protox,
/// so that a build needs neither `protoc` nor files of anyone else's in `proto/`.
fn compile_proto() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut files = ChainFileResolver::new();
    files.add(IncludeFileResolver::new(PathBuf::from("proto")));
    files.add(google_rpc()?);
    files.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(files);
    compiler.include_source_info(true).include_imports(true).open_files([PROTO, ERROR_DETAILS])?;

    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("ecrbroker.v1.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .build_client(env::var_os("CARGO_FEATURE_CLIENT").is_some())
        .build_server(env::var_os("CARGO_FEATURE_SERVER").is_some())
        .extern_path(".google.rpc", "::tonic_types::pb")
        .skip_debug(SECRET)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// tonic-types' files under the names that everybody imports them by: it has them as plain `status.proto`.
fn google_rpc() -> Result<DescriptorSetFileResolver, Box<dyn Error>> {
    let mut set = FileDescriptorSet::decode(tonic_types::pb::FILE_DESCRIPTOR_SET)?;
    for file in set.file.iter_mut().filter(|file| file.package() == "google.rpc") {
        file.name = Some(format!("google/rpc/{}", file.name()));
    }
    Ok(DescriptorSetFileResolver::decode(set.encode_to_vec().as_slice())?)
}

/// Which features are built in, for `--version`.
fn note_features() {
    let built_in = |name: &&str| env::var_os(format!("CARGO_FEATURE_{}", name.to_ascii_uppercase())).is_some();
    let features: Vec<_> = ["server", "client", "simulator"].into_iter().filter(built_in).collect();
    println!("cargo:rustc-env=ECR_BROKER_FEATURES={}", features.join(", "));
}

/// `ECR_BROKER_COMMIT` for builds outside a git checkout, else what git says, else "unknown".
fn note_commit() {
    println!("cargo:rerun-if-env-changed=ECR_BROKER_COMMIT");
    if Path::new(".git/logs/HEAD").exists() {
        println!("cargo:rerun-if-changed=.git/logs/HEAD");
    }
    let commit = env::var("ECR_BROKER_COMMIT").ok().or_else(git_commit);
    println!("cargo:rustc-env=ECR_BROKER_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

fn git_commit() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| commit.trim().to_owned())
}
