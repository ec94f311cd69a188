# Sourced by the get_*.sh scripts: downloads files of known size and SHA-256.

fail() {
  echo "$(basename "$0" .sh): $1" >&2
  exit 1
}

need_commands() {
  local name
  for name in curl sha256sum stat; do
    command -v "${name}" >/dev/null || fail "the command ${name} is missing. HINT: install it"
  done
}

# matches FILE SIZE SHA256
matches() {
  [[ "$(stat -c %s "$1")" == "$2" ]] && sha256sum --status --check <<<"$3  $1"
}

# remove_if_empty FOLDER: a relative path; its parents go too where they are empty.
remove_if_empty() {
  rmdir --ignore-fail-on-non-empty --parents "$1" || true
}

# download URL PART SIZE: continues PART where an interrupted download left it.
download() {
  local url="$1" part="$2" size="$3" status=0
  if [[ -e "${part}" && "$(stat -c %s "${part}")" -ge "${size}" ]]; then
    return 0
  fi
  local options=(--fail --location --retry 3 --connect-timeout 20 --progress-bar --show-error)
  curl "${options[@]}" --continue-at - --output "${part}" "${url}" || status=$?
  if [[ "${status}" == 33 ]]; then  # the server cannot continue: start again
    status=0
    rm -f "${part}"
    curl "${options[@]}" --output "${part}" "${url}" || status=$?
  fi
  return "${status}"
}

# fetch_file URL FILE SIZE SHA256: FILE appears only when it is whole and right. An interrupted
# download stays as FILE.part and is continued by the next run; nothing else is left behind.
fetch_file() {
  local url="$1" file="$2" size="$3" sha256="$4" status=0
  local part="${file}.part" folder
  folder="$(dirname "${file}")"
  if [[ -e "${file}" ]]; then
    matches "${file}" "${size}" "${sha256}" ||
      fail "${file} is not the published file (${size} bytes, SHA-256 ${sha256}). HINT: move it \
away and run this script again"
    echo "${file}: already there"
    return
  fi
  mkdir -p "${folder}" || fail "cannot create the folder ${folder}"
  download "${url}" "${part}" "${size}" || status=$?
  if [[ "${status}" != 0 ]]; then
    [[ -s "${part}" ]] || rm -f "${part}"
    remove_if_empty "${folder}"
    without_internet >&2
    fail "cannot download ${url} (curl exit status ${status}). HINT: check the connection and run \
this script again, or see above"
  fi
  if ! matches "${part}" "${size}" "${sha256}"; then
    local found
    found="$(stat -c %s "${part}") bytes, SHA-256 $(sha256sum "${part}" | cut -d ' ' -f 1)"
    rm -f "${part}"
    remove_if_empty "${folder}"
    fail "${url} gave ${found}, expected ${size} bytes, SHA-256 ${sha256}. HINT: a proxy may have \
changed the file, or it was replaced; nothing was kept"
  fi
  mv "${part}" "${file}"
  echo "${file}: downloaded and checked"
}
