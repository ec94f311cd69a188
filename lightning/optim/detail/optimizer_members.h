/// What there is to save of each optimizer's options and state: visit_members(object, visit) calls
/// visit(name, member) for every member. Internal: used by optimizer_state.cpp only.
#pragma once

#include <tuple>

#include <torch/optim/adagrad.h>
#include <torch/optim/rmsprop.h>

#include <lightning/optim/adadelta.h>
#include <lightning/optim/optimizers.h>

namespace lightning::optim {

template <typename AdamLikeOptions, typename Visit>
void visit_adam_options(AdamLikeOptions& o, Visit&& visit) {
  visit("lr", o.lr());
  visit("beta1", std::get<0>(o.betas()));
  visit("beta2", std::get<1>(o.betas()));
  visit("eps", o.eps());
  visit("weight_decay", o.weight_decay());
  visit("amsgrad", o.amsgrad());
}

template <typename Visit>
void visit_members(torch::optim::AdamOptions& o, Visit&& visit) {
  visit_adam_options(o, visit);
}

template <typename Visit>
void visit_members(torch::optim::AdamWOptions& o, Visit&& visit) {
  visit_adam_options(o, visit);
}

template <typename Visit>
void visit_members(torch::optim::SGDOptions& o, Visit&& visit) {
  visit("lr", o.lr());
  visit("momentum", o.momentum());
  visit("dampening", o.dampening());
  visit("weight_decay", o.weight_decay());
  visit("nesterov", o.nesterov());
}

template <typename Visit>
void visit_members(torch::optim::RMSpropOptions& o, Visit&& visit) {
  visit("lr", o.lr());
  visit("alpha", o.alpha());
  visit("eps", o.eps());
  visit("weight_decay", o.weight_decay());
  visit("momentum", o.momentum());
  visit("centered", o.centered());
}

template <typename Visit>
void visit_members(torch::optim::AdagradOptions& o, Visit&& visit) {
  visit("lr", o.lr());
  visit("lr_decay", o.lr_decay());
  visit("weight_decay", o.weight_decay());
  visit("initial_accumulator_value", o.initial_accumulator_value());
  visit("eps", o.eps());
}

template <typename Visit>
void visit_members(AdadeltaOptions& o, Visit&& visit) {
  visit("lr", o.lr());
  visit("rho", o.rho());
  visit("eps", o.eps());
  visit("weight_decay", o.weight_decay());
}

template <typename AdamLikeState, typename Visit>
void visit_adam_state(AdamLikeState& s, Visit&& visit) {
  visit("step", s.step());
  visit("exp_avg", s.exp_avg());
  visit("exp_avg_sq", s.exp_avg_sq());
  visit("max_exp_avg_sq", s.max_exp_avg_sq());
}

template <typename Visit>
void visit_members(torch::optim::AdamParamState& s, Visit&& visit) {
  visit_adam_state(s, visit);
}

template <typename Visit>
void visit_members(torch::optim::AdamWParamState& s, Visit&& visit) {
  visit_adam_state(s, visit);
}

template <typename Visit>
void visit_members(AdamState& s, Visit&& visit) {
  visit("step", s.step);
  visit("exp_avg", s.exp_avg);
  visit("exp_avg_sq", s.exp_avg_sq);
  visit("max_exp_avg_sq", s.max_exp_avg_sq);
}

template <typename Visit>
void visit_members(AdadeltaState& s, Visit&& visit) {
  visit("square_avg", s.square_avg);
  visit("acc_delta", s.acc_delta);
}

template <typename Visit>
void visit_members(torch::optim::SGDParamState& s, Visit&& visit) {
  visit("momentum_buffer", s.momentum_buffer());
}

template <typename Visit>
void visit_members(torch::optim::RMSpropParamState& s, Visit&& visit) {
  visit("step", s.step());
  visit("square_avg", s.square_avg());
  visit("momentum_buffer", s.momentum_buffer());
  visit("grad_avg", s.grad_avg());
}

template <typename Visit>
void visit_members(torch::optim::AdagradParamState& s, Visit&& visit) {
  visit("step", s.step());
  visit("sum", s.sum());
}

}  // namespace lightning::optim
