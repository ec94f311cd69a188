#include "weight_files.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <string_view>

#include <lightning/util/error.h>

#include "json_settings.h"
#include "utf8.h"

namespace bert_squad {

namespace fs = std::filesystem;
using lightning::CheckpointError;
using lightning::SafetensorsFile;

namespace {

constexpr const char* kWeights = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

/// What to do about a folder without weights that can be read.
std::string hint_for(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) {
    return "check the path; a model folder holds config.json, a tokenizer and model.safetensors.";
  }
  struct Format {
    const char* file;
    const char* what;
    const char* option;
  };
  static constexpr Format kFormats[] = {
      {"pytorch_model.bin", "is a pickle, which", ""},
      {"pytorch_model.bin.index.json", "lists pickles, which", ""},
      {"tf_model.h5", "is of TensorFlow, which", ", from_tf=True"},
      {"flax_model.msgpack", "is of Flax, which", ", from_flax=True"},
  };
  for (const auto& [file, what, option] : kFormats) {
    if (!fs::exists(folder / file, ignored)) continue;
    return lightning::detail::concat(
        "its ", file, " ", what, " isn't read; convert it in Python (transformers",
        *option == '\0' ? "" : " 4", "): AutoModelForQuestionAnswering.from_pretrained(\"",
        folder.string(), "\"", option, ").save_pretrained(\"", folder.string(),
        "\", safe_serialization=True), which keeps the question-answering head.");
  }
  if (fs::exists(folder / "adapter_config.json", ignored)) {
    return "it holds an adapter only; merge it into its model with merge_and_unload() of peft and "
           "save that.";
  }
  return "give a model folder as Hugging Face saves it.";
}

/// Throws CheckpointError for a pointer of Git LFS.
std::unique_ptr<SafetensorsFile> open_weights(const fs::path& file) {
  std::string begin(64, '\0');
  std::ifstream(file, std::ios::binary)
      .read(begin.data(), static_cast<std::streamsize>(begin.size()));
  try {
    check_not_lfs_pointer(begin, file.string());
  } catch (const lightning::DataError& error) {
    throw CheckpointError(lightning::detail::concat("load_pretrained: ", error.what()));
  }
  return std::make_unique<SafetensorsFile>(file);
}

/// Whether a name of an index can only be a file of the folder itself.
bool is_plain_name(const std::string& name) {
  constexpr std::string_view kEnding = ".safetensors";
  return name.size() > kEnding.size() && name.ends_with(kEnding) &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

/// Tensor to file.
std::map<std::string, std::string> read_index(const fs::path& path) {
  std::map<std::string, std::string> files;
  try {
    const Json json = parse_settings(read_model_file(path), path.string());
    Settings index(json, path.string());
    index.without_effect("metadata");
    const Json* map = index.find("weight_map");
    LIGHTNING_CHECK(map != nullptr && map->is_object() && !map->empty(), DataError, path.string(),
                    ": \"weight_map\" is ", map == nullptr ? "missing" : shown(*map),
                    ", expected the file of each tensor. HINT: save the model again.");
    index.refuse_rest();
    for (const auto& [tensor, file] : map->items()) {
      LIGHTNING_CHECK(file.is_string() && is_plain_name(file.get<std::string>()), DataError,
                      path.string(), ": the file of tensor ", shown(tensor), " is ", shown(file),
                      ", expected the name of a .safetensors file in the same folder. HINT: save "
                      "the model again with transformers.");
      files.emplace(tensor, file.get<std::string>());
    }
  } catch (const lightning::DataError& error) {
    throw CheckpointError(lightning::detail::concat("load_pretrained: ", error.what()));
  }
  return files;
}

}  // namespace

WeightFiles::WeightFiles(const fs::path& folder) : path_(folder / kWeights) {
  if (is_file(path_)) {
    files_.push_back(open_weights(path_));
    for (const auto& info : files_[0]->tensors()) tensors_.push_back({&info, 0});
  } else if (is_file(folder / kIndex)) {
    path_ = folder / kIndex;
    open_indexed(folder);
  } else {
    throw CheckpointError(lightning::detail::concat("load_pretrained: no model.safetensors and no ",
                                                    kIndex, " in ", folder.string(),
                                                    ". HINT: ", hint_for(folder)));
  }
}

void WeightFiles::open_indexed(const fs::path& folder) {
  constexpr const char* kHint =
      " HINT: copy all files of the model again, or save it again with transformers.";
  const std::map<std::string, std::string> file_of = read_index(path_);
  std::map<std::string, size_t> opened;
  for (const auto& [tensor, name] : file_of) {
    if (!opened.contains(name)) {
      const fs::path file = folder / name;
      LIGHTNING_CHECK(is_file(file), CheckpointError, "load_pretrained: ", path_.string(),
                      " names ", file.string(), " for the tensor ", tensor,
                      ", and there is no such regular file, expected all files of the model.",
                      kHint);
      opened.emplace(name, files_.size());
      files_.push_back(open_weights(file));
    }
    LIGHTNING_CHECK(files_[opened.at(name)]->contains(tensor), CheckpointError,
                    "load_pretrained: ", path_.string(), " says that tensor ", tensor, " is in ",
                    name, ", which doesn't hold it, expected an index that fits the files.", kHint);
  }
  for (const auto& [name, index] : opened) {
    for (const auto& info : files_[index]->tensors()) {
      const auto listed = file_of.find(info.name);
      LIGHTNING_CHECK(listed != file_of.end() && listed->second == name, CheckpointError,
                      "load_pretrained: ", (folder / name).string(), " holds the tensor ",
                      info.name, ", which ", path_.string(),
                      listed == file_of.end() ? " doesn't name" : " gives to another file",
                      ", expected each tensor once and in the index.", kHint);
      tensors_.push_back({&info, index});
    }
  }
}

void WeightFiles::read_into(const Tensor& tensor, at::Tensor& target) const {
  files_[tensor.file]->read_into(tensor.info->name, target);
}

}  // namespace bert_squad
