//! Compiles `proto/` without `protoc`, and passes the commit and the features to `--version`.

#![allow(clippy::disallowed_methods, reason = "Cargo passes arguments to build scripts in the environment")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use protox::file::{ChainFileResolver, DescriptorSetFileResolver, GoogleFileResolver, IncludeFileResolver};
use protox::prost_reflect::prost::Message as _;
use protox::prost_reflect::prost_types::FileDescriptorSet;
use tonic_prost_build::Builder;

/// The file whose messages are also written as JSON.
const OPERATOR: &str = "ecrbroker/v1/operator.proto";
const PROTOS: [&str; 2] = [OPERATOR, "ecrbroker/v1/registry_credentials.proto"];

/// The error details. Our proto does not import them; reflection clients need their descriptors to decode errors.
const ERROR_DETAILS: &str = "google/rpc/error_details.proto";

/// Messages with a password. Their derived `Debug` would print it, so `src/pb.rs` implements `Debug` by hand.
const SECRET: [&str; 1] = ["ecrbroker.v1.RegistryCredentials"];

fn main() -> Result<(), Box<dyn Error>> {
    compile_proto()?;
    pass_commit();
    pass_features();
    Ok(())
}

/// Compiles our proto. `google/rpc` comes from the descriptor set in `tonic-types`, the well-known types from protox.
///
/// So a build needs neither `protoc` nor copies of other projects' files in `proto/`.
fn compile_proto() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut files = ChainFileResolver::new();
    files.add(IncludeFileResolver::new(PathBuf::from("proto")));
    files.add(google_rpc()?);
    files.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(files);
    compiler.include_source_info(true).include_imports(true).open_files(PROTOS.into_iter().chain([ERROR_DETAILS]))?;

    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("ecrbroker.v1.bin"), compiler.encode_file_descriptor_set())?;
    with_json(tonic_prost_build::configure(), &compiler.file_descriptor_set())
        .build_client(env::var_os("CARGO_FEATURE_CLIENT").is_some())
        .build_server(env::var_os("CARGO_FEATURE_SERVER").is_some())
        .extern_path(".google.rpc", "::tonic_types::pb")
        .skip_debug(SECRET)
        .codec_path("crate::pb::codec::BoundedCodec")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// Derives `Serialize` for the operator's messages. `src/pb/json.rs` writes the fields whose types serde does not know.
fn with_json(builder: Builder, set: &FileDescriptorSet) -> Builder {
    let messages = set.file.iter().filter(|file| file.name() == OPERATOR).flat_map(|file| &file.message_type);
    messages.fold(builder, |builder, message| {
        let path = format!(".ecrbroker.v1.{}", message.name());
        let builder = builder.type_attribute(&path, "#[derive(serde::Serialize)]");
        message.field.iter().fold(builder, |builder, field| match json_writer(field.type_name()) {
            Some(writer) => {
                let attribute = format!("#[serde(serialize_with = \"crate::pb::json::{writer}\")]");
                builder.field_attribute(format!("{path}.{}", field.name()), attribute)
            }
            None => builder,
        })
    })
}

/// Returns the function that writes fields of a type; `None`: serde's own.
fn json_writer(type_name: &str) -> Option<&'static str> {
    Some(match type_name {
        ".google.protobuf.Timestamp" => "time",
        ".google.protobuf.Duration" => "seconds",
        ".ecrbroker.v1.PolicyMode" => "policy_mode",
        ".ecrbroker.v1.ReadinessCheckName" => "check_name",
        ".ecrbroker.v1.KeyOrder" => "key_order",
        ".ecrbroker.v1.SharedCacheState" => "shared_cache_state",
        _ => return None,
    })
}

/// Returns the files of tonic-types under their import paths. tonic-types has them without `google/rpc/`.
fn google_rpc() -> Result<DescriptorSetFileResolver, Box<dyn Error>> {
    let mut set = FileDescriptorSet::decode(tonic_types::pb::FILE_DESCRIPTOR_SET)?;
    for file in set.file.iter_mut().filter(|file| file.package() == "google.rpc") {
        file.name = Some(format!("google/rpc/{}", file.name()));
    }
    Ok(DescriptorSetFileResolver::decode(set.encode_to_vec().as_slice())?)
}

/// Passes the enabled features to the crate.
fn pass_features() {
    let is_enabled = |name: &&str| env::var_os(format!("CARGO_FEATURE_{}", name.to_ascii_uppercase())).is_some();
    let features: Vec<_> = ["server", "client", "simulator", "kubernetes"].into_iter().filter(is_enabled).collect();
    println!("cargo:rustc-env=ECR_BROKER_FEATURES={}", features.join(", "));
}

/// Passes the commit to the crate: `ECR_BROKER_COMMIT`, which builds outside a git checkout set, else git's HEAD, else "unknown".
fn pass_commit() {
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
