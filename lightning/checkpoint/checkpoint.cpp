#include <lightning/checkpoint/checkpoint.h>

#include <cstring>
#include <map>

#include <ATen/ATen.h>

#include <lightning/checkpoint/detail/checkpoint_folder.h>
#include <lightning/checkpoint/detail/manifest.h>
#include <lightning/checkpoint/detail/names.h>
#include <lightning/checkpoint/detail/safetensors_format.h>
#include <lightning/checkpoint/detail/state_json.h>
#include <lightning/checkpoint/detail/tensor_identity.h>
#include <lightning/checkpoint/safetensors.h>
#include <lightning/util/detail/crc32c.h>
#include <lightning/util/detail/disk.h>
#include <lightning/util/error.h>
#include <lightning/util/file_system.h>

namespace lightning {
namespace {

namespace fs = std::filesystem;
using detail::Manifest;

/// Notes size and checksum of what passes through.
class CheckedFile final : public WritableFile {
 public:
  explicit CheckedFile(const fs::path& path)
      : file_(FileSystem::current().open_for_writing(path)) {}
  using WritableFile::write;
  void write(const void* data, size_t size_bytes) override {
    file_->write(data, size_bytes);
    entry_.crc32c = crc32c(data, size_bytes, entry_.crc32c);
    entry_.size_bytes += size_bytes;
  }
  void sync() override { file_->sync(); }
  void close() override { file_->close(); }
  Manifest::File entry() const { return entry_; }

 private:
  std::unique_ptr<WritableFile> file_;
  Manifest::File entry_;
};

/// Writes the files of one checkpoint into a folder and collects the manifest.
class FolderWriter {
 public:
  explicit FolderWriter(fs::path folder) : folder_(std::move(folder)) {}

  size_t write_all(const Checkpoint& checkpoint);

 private:
  template <typename Body>
  void write_file(const std::string& name, const Body& body) {
    CheckedFile file(folder_ / name);
    body(file);
    file.sync();
    file.close();
    manifest_.files[name] = file.entry();
  }
  void write_text(const std::string& name, std::string_view text) {
    write_file(name, [&](WritableFile& file) { file.write(text); });
  }
  void write_tensors(const std::string& name, const Checkpoint::NamedTensors& tensors,
                     const std::map<std::string, std::string>& metadata) {
    write_file(name,
               [&](WritableFile& file) { detail::write_safetensors_to(file, tensors, metadata); });
  }
  Checkpoint::NamedTensors without_aliases(const Checkpoint::NamedTensors& tensors);
  void write_assets(const Checkpoint& checkpoint);

  fs::path folder_;
  Manifest manifest_;
};

Checkpoint::NamedTensors FolderWriter::without_aliases(const Checkpoint::NamedTensors& tensors) {
  Checkpoint::NamedTensors distinct;
  std::map<detail::TensorIdentity, std::string> names;
  for (const auto& [name, tensor] : tensors) {
    LIGHTNING_CHECK(tensor.defined(), CheckpointError, "tensor \"", name, "\" is undefined.");
    const auto [first, inserted] = names.try_emplace(detail::TensorIdentity(tensor), name);
    if (inserted) {
      distinct.emplace_back(name, tensor);
    } else {
      manifest_.aliases[name] = first->second;
    }
  }
  return distinct;
}

void FolderWriter::write_assets(const Checkpoint& checkpoint) {
  FileSystem& disk = FileSystem::current();
  const fs::path assets = folder_ / detail::kAssetsFolder;
  disk.create_directories(assets);
  for (const auto& [name, content] : checkpoint.assets) {
    LIGHTNING_CHECK(detail::is_safe_file_name(name), CheckpointError, "the asset name \"", name,
                    "\" is not a relative path below the assets folder.");
    const std::string file = std::string(detail::kAssetsFolder) + "/" + name;
    LIGHTNING_CHECK(!manifest_.files.contains(file), CheckpointError, "two assets are named \"",
                    name, "\".");
    disk.create_directories((folder_ / file).parent_path());
    write_text(file, content);
    disk.sync_directory((folder_ / file).parent_path());
  }
}

size_t FolderWriter::write_all(const Checkpoint& checkpoint) {
  // What transformers looks for before it takes a file as PyTorch's.
  write_tensors(std::string(detail::kModelFile), without_aliases(checkpoint.model),
                {{"format", "pt"}});
  Checkpoint::NamedTensors state_tensors;
  for (const auto& [name, value] : checkpoint.state.entries()) {
    if (const auto* tensor = std::get_if<at::Tensor>(&value)) {
      state_tensors.emplace_back(name, *tensor);
    }
  }
  write_tensors(std::string(detail::kStateTensorsFile), state_tensors, {});
  write_text(std::string(detail::kStateFile), detail::state_to_json(checkpoint.state));
  write_text(std::string(detail::kConfigFile), checkpoint.config);
  write_assets(checkpoint);
  if (checkpoint.state.contains("loop/global_step")) {
    manifest_.global_step = checkpoint.state.get<int64_t>("loop/global_step");
  }

  manifest_.id = checkpoint.id;
  size_t size_bytes = 0;
  for (const auto& [name, file] : manifest_.files) size_bytes += file.size_bytes;
  write_text(std::string(detail::kManifestFile), manifest_.to_json());
  FileSystem::current().sync_directory(folder_);
  return size_bytes + manifest_.files.at(std::string(detail::kManifestFile)).size_bytes;
}

/// Leaves nothing of a write that failed, whether it was renamed already or not.
void discard(const fs::path& temporary, const fs::path& target, bool renamed) {
  FileSystem& disk = FileSystem::current();
  try {
    if (renamed) disk.rename(target, temporary);
    disk.remove_all(temporary);
  } catch (const Error&) {
    // The error that led here is the one to report; the next write of this name tidies up.
  }
}

size_t write_and_commit(const Checkpoint& checkpoint, const fs::path& target) {
  FileSystem& disk = FileSystem::current();
  const fs::path parent = detail::parent_folder(target);
  disk.create_directories(parent);
  detail::remove_abandoned(parent);
  const fs::path temporary = detail::temporary_path(target);
  bool renamed = false;
  try {
    disk.remove_all(temporary);  // of a write that failed
    disk.create_directories(temporary);
    const size_t size_bytes = FolderWriter(temporary).write_all(checkpoint);
    disk.rename(temporary, target);
    renamed = true;
    disk.sync_directory(parent);
    return size_bytes;
  } catch (...) {
    discard(temporary, target, renamed);
    throw;
  }
}

/// Runs `body` on the manifest of a checkpoint; names the newest valid neighbour when it is
/// damaged.
template <typename Body>
auto with_manifest(const fs::path& directory, const Body& body) {
  try {
    return body(detail::read_manifest(directory));
  } catch (const detail::DamagedCheckpoint& error) {
    const fs::path above = directory.parent_path();
    if (detail::kind_of(directory) == detail::FileKind::kFile &&
        detail::kind_of(above / detail::kManifestFile) == detail::FileKind::kFile) {
      throw CheckpointError(
          format("{}. HINT: give the folder above it, {}.", error.what(), above.string()));
    }
    const auto neighbour = detail::newest_sound_neighbour(directory);
    const std::string hint =
        neighbour ? format("use {}, the newest valid checkpoint in the same folder", *neighbour)
                  : "check the path; there is no valid checkpoint in the same folder";
    throw CheckpointError(detail::concat(error.what(), ". HINT: ", hint, "."));
  }
}

std::string read_checked(const fs::path& directory, const Manifest& manifest,
                         std::string_view file) {
  detail::check_file(directory, manifest, file, /*checksum=*/true);
  try {
    return read_file(directory / file);
  } catch (const DataError& error) {
    throw CheckpointError(
        detail::concat("checkpoint \"", directory.string(), "\": ", error.what()));
  }
}

Checkpoint::NamedTensors read_weights(const fs::path& directory, const Manifest& manifest) {
  detail::check_file(directory, manifest, detail::kModelFile, /*checksum=*/true);
  const SafetensorsFile file(directory / detail::kModelFile);
  Checkpoint::NamedTensors model;
  std::map<std::string, at::Tensor> by_name;
  for (const SafetensorsInfo& info : file.tensors()) {
    model.emplace_back(info.name, file.read(info.name));
    by_name.insert(model.back());
  }
  for (const auto& [alias, name] : manifest.aliases) {
    const auto found = by_name.find(name);
    LIGHTNING_CHECK(found != by_name.end(), CheckpointError, "checkpoint \"", directory.string(),
                    "\": \"", alias, "\" is tied to \"", name, "\", which isn't there.");
    model.emplace_back(alias, found->second);
  }
  return model;
}

StateDict read_state(const fs::path& directory, const Manifest& manifest) {
  const std::string text = read_checked(directory, manifest, detail::kStateFile);
  detail::check_file(directory, manifest, detail::kStateTensorsFile, /*checksum=*/true);
  const SafetensorsFile file(directory / detail::kStateTensorsFile);
  return detail::state_from_json(text, [&](const std::string& name) { return file.read(name); });
}

at::Tensor host_copy(const at::Tensor& tensor) {
  const bool plain = tensor.is_cpu() && tensor.layout() == at::kStrided && !tensor.is_quantized() &&
                     tensor.is_contiguous() && !tensor.is_conj() && !tensor.is_neg();
  if (!plain) {
    return tensor.detach()
        .to(at::kCPU, tensor.scalar_type(), /*non_blocking=*/false, /*copy=*/true)
        .contiguous();
  }
  // Not by copy_(): its threads wait for each other at every tensor, which takes long on a busy
  // machine.
  at::Tensor host = at::empty(tensor.sizes(), tensor.options().requires_grad(false));
  if (tensor.nbytes() > 0) {
    std::memcpy(host.mutable_data_ptr(), tensor.const_data_ptr(), tensor.nbytes());
  }
  return host;
}

}  // namespace

Checkpoint Checkpoint::snapshot() const {
  std::map<detail::TensorIdentity, at::Tensor> copies;
  const auto copy = [&](const at::Tensor& tensor) {
    if (!tensor.defined()) return tensor;
    at::Tensor& host = copies[detail::TensorIdentity(tensor)];
    if (!host.defined()) host = host_copy(tensor);
    return host;
  };
  Checkpoint result;
  result.config = config;
  result.assets = assets;
  result.id = id;
  for (const auto& [name, tensor] : model) result.model.emplace_back(name, copy(tensor));
  for (const auto& [name, value] : state.entries()) {
    const auto* tensor = std::get_if<at::Tensor>(&value);
    result.state.set(name, tensor != nullptr ? StateDict::Value(copy(*tensor)) : value);
  }
  return result;
}

size_t Checkpoint::write(const fs::path& directory) const {
  const fs::path target = detail::without_trailing_slash(directory);
  const std::string name = target.filename().string();
  LIGHTNING_CHECK(detail::is_checkpoint_name(name), CheckpointError, "checkpoint \"",
                  directory.string(), "\": the name of a checkpoint must end in \"",
                  detail::kCheckpointSuffix, "\" and not begin with a dot. ", "HINT: name it \"",
                  name.empty() ? "model" : name, detail::kCheckpointSuffix, "\".");
  LIGHTNING_CHECK(!detail::entry_exists(target), CheckpointError, "checkpoint \"", target.string(),
                  "\": exists already, and is never replaced. ",
                  "HINT: choose a different name, or remove it first.");
  try {
    return write_and_commit(*this, target);
  } catch (const CheckpointError& error) {
    throw CheckpointError(
        detail::concat("checkpoint \"", target.string(), "\" was not written: ", error.what()));
  }
}

Checkpoint Checkpoint::read(const fs::path& path) {
  const fs::path directory = detail::without_trailing_slash(path);
  return with_manifest(directory, [&](const Manifest& manifest) {
    Checkpoint checkpoint;
    checkpoint.model = read_weights(directory, manifest);
    checkpoint.state = read_state(directory, manifest);
    checkpoint.config = read_checked(directory, manifest, detail::kConfigFile);
    checkpoint.id = manifest.id;
    const std::string prefix = std::string(detail::kAssetsFolder) + "/";
    for (const auto& [name, file] : manifest.files) {
      if (!name.starts_with(prefix)) continue;
      checkpoint.assets.emplace_back(name.substr(prefix.size()),
                                     read_checked(directory, manifest, name));
    }
    return checkpoint;
  });
}

Checkpoint::NamedTensors Checkpoint::read_model(const fs::path& path) {
  const fs::path directory = detail::without_trailing_slash(path);
  return with_manifest(directory,
                       [&](const Manifest& manifest) { return read_weights(directory, manifest); });
}

std::string Checkpoint::read_config(const fs::path& path) {
  const fs::path directory = detail::without_trailing_slash(path);
  return with_manifest(directory, [&](const Manifest& manifest) {
    return read_checked(directory, manifest, detail::kConfigFile);
  });
}

fs::path Checkpoint::assets_dir(const fs::path& path) {
  const fs::path directory = detail::without_trailing_slash(path);
  return with_manifest(directory,
                       [&](const Manifest&) { return directory / detail::kAssetsFolder; });
}

void Checkpoint::verify(const fs::path& path, bool checksums) {
  const fs::path directory = detail::without_trailing_slash(path);
  with_manifest(directory, [&](const Manifest& manifest) {
    for (const auto& [name, file] : manifest.files) {
      detail::check_file(directory, manifest, name, checksums);
    }
  });
}

}  // namespace lightning
