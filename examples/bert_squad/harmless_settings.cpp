#include "harmless_settings.h"

namespace bert_squad {
namespace {

constexpr std::string_view kHistory = "says where the files come from";
constexpr std::string_view kTasks = "belongs to the head of another task";
constexpr std::string_view kPooler = "belongs to the pooler, which question answering doesn't use";
constexpr std::string_view kMemory = "changes memory or speed, not the results";
constexpr std::string_view kOutputs = "chooses what transformers returns beside the scores";
constexpr std::string_view kDtype = "weights are converted to 32-bit numbers";
constexpr std::string_view kGeneration = "is for generating text";
constexpr std::string_view kLengths = "data.max_seq_length and data.doc_stride decide";
constexpr std::string_view kDecoding =
    "is for turning tokens into text; answers are cut from the "
    "passage";
constexpr std::string_view kPadding = "padding is masked, and batches are padded on the right";

constexpr HarmlessSetting kConfig[] = {
    {"architectures", "the weights tell which heads there are"},
    {"_name_or_path", kHistory},
    {"name_or_path", kHistory},
    {"_commit_hash", kHistory},
    {"transformers_version", kHistory},
    {"finetuning_task", kHistory},
    {"language", kHistory},
    {"name", kHistory},
    {"directionality", kHistory},
    {"classifier_dropout", kTasks},
    {"id2label", kTasks},
    {"label2id", kTasks},
    {"num_labels", kTasks},
    {"_num_labels", kTasks},
    {"problem_type", kTasks},
    {"task_specific_params", kTasks},
    {"tie_word_embeddings", kTasks},
    {"pooler_fc_size", kPooler},
    {"pooler_num_attention_heads", kPooler},
    {"pooler_num_fc_layers", kPooler},
    {"pooler_size_per_head", kPooler},
    {"pooler_type", kPooler},
    {"attn_implementation", kMemory},
    {"_attn_implementation", kMemory},
    {"_attn_implementation_autoset", kMemory},
    {"chunk_size_feed_forward", kMemory},
    {"gradient_checkpointing", kMemory},
    {"torchscript", kMemory},
    {"use_cache", kMemory},
    {"output_attentions", kOutputs},
    {"output_hidden_states", kOutputs},
    {"output_past", kOutputs},
    {"return_dict", kOutputs},
    {"dtype", kDtype},
    {"torch_dtype", kDtype},
    {"use_bfloat16", kDtype},
    {"bos_token_id", "question answering adds no such tokens"},
    {"eos_token_id", "question answering adds no such tokens"},
    {"cls_token_id", "the tokenizer names it"},
    {"mask_token_id", "the tokenizer names it"},
    {"sep_token_id", "the tokenizer names it"},
    {"decoder_start_token_id", kGeneration},
    {"cross_attention_hidden_size", kGeneration},
    {"tie_encoder_decoder", kGeneration},
    {"prefix", kGeneration},
    {"max_length", kGeneration},
    {"min_length", kGeneration},
    {"do_sample", kGeneration},
    {"early_stopping", kGeneration},
    {"num_beams", kGeneration},
    {"num_beam_groups", kGeneration},
    {"diversity_penalty", kGeneration},
    {"temperature", kGeneration},
    {"top_k", kGeneration},
    {"top_p", kGeneration},
    {"typical_p", kGeneration},
    {"repetition_penalty", kGeneration},
    {"length_penalty", kGeneration},
    {"no_repeat_ngram_size", kGeneration},
    {"encoder_no_repeat_ngram_size", kGeneration},
    {"bad_words_ids", kGeneration},
    {"num_return_sequences", kGeneration},
    {"output_scores", kGeneration},
    {"return_dict_in_generate", kGeneration},
    {"forced_bos_token_id", kGeneration},
    {"forced_eos_token_id", kGeneration},
    {"remove_invalid_values", kGeneration},
    {"exponential_decay_length_penalty", kGeneration},
    {"suppress_tokens", kGeneration},
    {"begin_suppress_tokens", kGeneration},
};

constexpr HarmlessSetting kTokenizer[] = {
    {"name_or_path", kHistory},
    {"_commit_hash", kHistory},
    {"special_tokens_map_file", kHistory},
    {"tokenizer_file", kHistory},
    {"vocab_file", kHistory},
    {"full_tokenizer_file", kHistory},
    {"files_loaded", kHistory},
    {"is_local", kHistory},
    {"local_files_only", kHistory},
    {"backend", kHistory},
    {"processor_class", kHistory},
    {"use_fast", "transformers' two kinds of tokenizers cut BERT's words alike"},
    {"verbose", "is for messages"},
    {"model_max_length", kLengths},
    {"max_len", kLengths},
    {"max_length", kLengths},
    {"stride", kLengths},
    {"truncation_strategy", kLengths},
    {"pad_to_multiple_of", kPadding},
    {"clean_up_tokenization_spaces", kDecoding},
    {"chat_template", kGeneration},
};

constexpr HarmlessSetting kTokenizerJson[] = {
    {"decoder", kDecoding},
    {"truncation.max_length", kLengths},
    {"truncation.strategy", kLengths},
    {"truncation.stride", kLengths},
    {"padding.strategy", kPadding},
    {"padding.pad_to_multiple_of", kPadding},
};

}  // namespace

std::span<const HarmlessSetting> harmless_config_settings() { return kConfig; }
std::span<const HarmlessSetting> harmless_tokenizer_settings() { return kTokenizer; }
std::span<const HarmlessSetting> harmless_tokenizer_json_settings() { return kTokenizerJson; }

}  // namespace bert_squad
