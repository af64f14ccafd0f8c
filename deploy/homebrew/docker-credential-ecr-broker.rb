# docker's credential helper for Homebrew on macOS and Linux. deploy/release/build fills in the version and the checksums.
class DockerCredentialEcrBroker < Formula
  desc "Credential helper for docker that asks an ecr-broker"
  homepage "@HOMEPAGE@"
  version "@VERSION@"
  license "Apache-2.0"

  on_macos do
    on_arm do
      url "@URL@/docker-credential-ecr-broker-@VERSION@-macos-arm64.tar.gz"
      sha256 "@SHA256-macos-arm64@"
    end
    on_intel do
      url "@URL@/docker-credential-ecr-broker-@VERSION@-macos-amd64.tar.gz"
      sha256 "@SHA256-macos-amd64@"
    end
  end

  on_linux do
    on_arm do
      url "@URL@/docker-credential-ecr-broker-@VERSION@-linux-arm64.tar.gz"
      sha256 "@SHA256-linux-arm64@"
    end
    on_intel do
      url "@URL@/docker-credential-ecr-broker-@VERSION@-linux-amd64.tar.gz"
      sha256 "@SHA256-linux-amd64@"
    end
  end

  def install
    bin.install "bin/docker-credential-ecr-broker"
  end

  test do
    # No registry in the request: the helper says so in the words that docker defines.
    assert_equal "no credentials server URL", pipe_output("#{bin}/docker-credential-ecr-broker get", "", 1).strip
  end
end
