#!/usr/bin/env bash
# Runs senderid as a step of a workflow: summary, annotations, outputs, one comment on the pull request, one issue of drift.
# Everything comes through the environment, and nothing of it is read as code.
set -euo pipefail

PATH=${RUNNER_TEMP:?}/senderid/bin:$PATH
command=${INPUT_COMMAND:?}
name=${INPUT_NAME:-senderid}
folder=$(mktemp -d "$RUNNER_TEMP/senderid-run.XXXXXX")
page=$folder/page.md
plan=$folder/plan.json
said=$folder/said.log
footer="[The run](${GITHUB_SERVER_URL:-https://github.com}/$GITHUB_REPOSITORY/actions/runs/${GITHUB_RUN_ID:-0})"

# isolated, as the files of whoever made the pull request lie around
forge() { python -I -m worker.forge "$@"; }

# the text that senderid prints could be commands to the runner: meanwhile none is obeyed
quietly() {
  local token status=0
  token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  echo "::stop-commands::$token"
  { "$@" 2>&1 >&3 | tee "$said"; } 3>&1 || status=$?
  echo "::$token::"
  return "$status"
}

output() { printf '%s=%s\n' "$1" "$2" >>"$GITHUB_OUTPUT"; }

summary() { cat "$@" >>"$GITHUB_STEP_SUMMARY"; }

give_up() {
  printf '%s\n' "$1" | summary
  local told=${1//'%'/'%25'}
  told=${told//$'\r'/'%0D'}
  echo "::error title=senderid::${told//$'\n'/'%0A'}"
  exit "$2"
}

# each line of an input as an option, behind those that an array has
listed() {
  local -n into=$1
  local value
  while IFS= read -r value; do
    if [[ -n ${value//[[:space:]]/} ]]; then into+=("$2" "$value"); fi
  done <<<"$3"
}

files=()
options=()
allowed=()
listed files -f "${INPUT_FILES:-}"
listed options --settings "${INPUT_SETTINGS:-}"
listed options --mask "${INPUT_MASK:-}"
listed allowed --allow "${INPUT_ALLOW:-}"

validate() {
  local status=0
  quietly senderid validate "${files[@]}" "${options[@]}" || status=$?
  forge annotate <"$said"
  output exit-status "$status"
  if ((status == 65)); then
    printf '### The desired state is invalid\n\nIts problems stand at their lines, and in the log.\n' | summary
  fi
  exit "$status"
}

if [[ $command == validate ]]; then
  validate
fi

# such pull requests have no secrets, and are not to have any: what can be said without them is said
if [[ $command == plan && -n ${HEAD_REPOSITORY:-} ]] &&
  [[ $HEAD_REPOSITORY != "$GITHUB_REPOSITORY" || ${GITHUB_ACTOR:-} == "dependabot[bot]" ]]; then
  without="A pull request of a fork or of Dependabot has no secrets: its files are validated, and nothing is planned."
  printf '%s\n' "$without" | summary
  echo "::notice title=senderid::$without"
  output changes ""
  validate
fi

told=("${options[@]}" "${allowed[@]}" --format markdown --output "$page" --log-format json)
status=0
request=
case $command in
  plan) quietly senderid plan "${files[@]}" "${told[@]}" --detailed-exitcode --out "$plan" || status=$? ;;
  drift) quietly senderid drift "${files[@]}" "${told[@]}" || status=$? ;;
  apply)
    if [[ ${INPUT_FROM:-reviewed} == files ]]; then
      quietly senderid apply "${files[@]}" "${told[@]}" --yes || status=$?
    else
      listed told --max-age "${INPUT_MAX_AGE:-}"
      if ! request=$(forge reviewed-plan --name "$name-plan" --output "$plan" 2>"$said"); then
        give_up "Nothing was written. $(cat "$said")" 1
      fi
      quietly senderid apply "$plan" "${told[@]}" || status=$?
    fi
    ;;
  *) give_up "The input command is plan, apply, drift or validate." 64 ;;
esac

output exit-status "$status"
forge annotate <"$said"
if [[ ! -s $page ]]; then
  give_up "senderid $command ended with $status: the log of this step says why." "$status"
fi
summary "$page"

case $command in
  plan)
    forge describe "$plan" >>"$GITHUB_OUTPUT"
    output plan "$plan"
    if [[ -n ${HEAD_REPOSITORY:-} ]]; then
      forge comment --kind plan --name "$name" --body "$page" --footer "$footer"
    fi
    # to tell of changes that are pending, and of numbers that wait for a person, is what a plan is for
    if ((status == 2 || status == 3)); then status=0; fi
    ;;
  apply)
    if [[ -n $request ]]; then
      forge comment --kind apply --name "$name" --request "$request" --body "$page" --footer "$footer"
    fi
    ;;
  drift)
    if ((status == 0)); then
      forge issue --kind drift --name "$name" --close "Nothing drifts any more. $footer"
    elif ((status != 1)); then
      forge issue --kind drift --name "$name" --title "Sender numbers drifted" --body "$page" --footer "$footer"
      status=0
    fi
    ;;
esac
exit "$status"
