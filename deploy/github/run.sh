#!/usr/bin/env bash
# Runs senderid as a step of a workflow: summary, annotations, outputs, one comment on the pull request, one issue of drift.
# All input comes through the environment, and none of it is executed.
set -euo pipefail

PATH=${RUNNER_TEMP:?}/senderid/bin:$PATH
command=${INPUT_COMMAND:?}
name=${INPUT_NAME:-senderid}
folder=$(mktemp -d "$RUNNER_TEMP/senderid-run.XXXXXX")
page=$folder/page.md
plan=$folder/plan.json
said=$folder/said.log
said_by_forge=$folder/forge.log
problem=$folder/problem.log
run=${GITHUB_SERVER_URL:-https://github.com}/$GITHUB_REPOSITORY/actions/runs/${GITHUB_RUN_ID:-0}
footer="[The run]($run)"

# isolated from the files of the pull request; stderr is also kept for messages
forge() {
  local status=0
  python -I -m worker.cli.ci "$@" 2>"$said_by_forge" || status=$?
  cat "$said_by_forge" >&2
  return "$status"
}

# output of senderid could be commands to the runner, so they are disabled meanwhile
quietly() {
  local token status
  token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  echo "::stop-commands::$token"
  { "$@" 2>&1 >&3 | tee "$said"; status=${PIPESTATUS[0]}; } 3>&1
  echo "::$token::"
  return "$status"
}

output() { printf '%s=%s\n' "$1" "$2" >>"$GITHUB_OUTPUT"; }

summary() { cat >>"$GITHUB_STEP_SUMMARY"; }

# a message of the level error, warning or notice at the run
message() {
  local text=${2//'%'/'%25'}
  text=${text//$'\r'/'%0D'}
  echo "::$1 title=senderid::${text//$'\n'/'%0A'}"
}

give_up() {
  printf '%s\n' "$1" | summary || true
  message error "$1"
  exit "$2"
}

# report WHAT COMMAND...: if the command fails, print a warning and keep the status of the step
report() {
  local what=$1
  shift
  if ! "$@" 2>"$problem"; then
    message warning "senderid $command ended with $status, but $what could not be written. $(cat "$problem")"
    return 1
  fi
  cat "$problem" >&2
}

# append each line of an input, stripped, to an array as an option
listed() {
  local -n into=$1
  local value
  while read -r value; do
    if [[ -n $value ]]; then into+=("$2" "$value"); fi
  done <<<"$3"
}

files=()
roots=()
options=()
mask=()
allowed=()
listed files -f "${INPUT_FILES:-}"
listed roots --files "${INPUT_FILES:-config/desired}"
listed options --settings "${INPUT_SETTINGS:-}"
listed mask --mask "${INPUT_MASK:-}"
options+=("${mask[@]}")
listed allowed --allow "${INPUT_ALLOW:-}"
# a request must not choose the programs that run with the secrets of the job
options+=(--no-commands)

validate() {
  local status=0
  quietly senderid validate "${files[@]}" "${options[@]}" || status=$?
  set +e
  report "the annotations" forge annotate <"$said"
  report "the output exit-status" output exit-status "$status"
  if ((status == 65)); then
    report "the summary" summary <<<$'### The desired state is invalid\n\nThe problems are annotated at their lines, and listed in the log.'
  fi
  exit "$status"
}

if [[ $command == validate ]]; then
  validate
fi

if [[ $command == changed ]]; then
  changed=$(forge changed "${roots[@]}" --files "${INPUT_SETTINGS:-config/worker.yaml}") ||
    give_up "Could not determine whether this push changed the files. $(cat "$said_by_forge")" 1
  output changed "$changed"
  exit 0
fi

# such pull requests have no secrets and must not get any: only validate
if [[ $command == plan && -n ${HEAD_REPOSITORY:-} ]] &&
  [[ $HEAD_REPOSITORY != "$GITHUB_REPOSITORY" || ${GITHUB_ACTOR:-} == "dependabot[bot]" ]]; then
  without="A pull request of a fork or of Dependabot has no secrets: its files are validated, and nothing is planned."
  printf '%s\n' "$without" | summary
  message notice "$without"
  output changes ""
  validate
fi

arguments=("${options[@]}" "${allowed[@]}" --format markdown --output "$page" --log-format json)
status=0
request=
claim=
case $command in
  plan) quietly senderid plan "${files[@]}" "${arguments[@]}" --detailed-exitcode --out "$plan" || status=$? ;;
  drift) quietly senderid drift "${files[@]}" "${arguments[@]}" || status=$? ;;
  apply)
    # a higher level in a settings file would hide the line that counts the writes
    arguments+=(--log-level info)
    if [[ ${INPUT_FROM:-reviewed} != @(reviewed|files) ]]; then give_up "Invalid input from: use reviewed or files." 64; fi
    if [[ ${INPUT_FROM:-reviewed} == files ]]; then
      quietly senderid apply "${files[@]}" "${arguments[@]}" --yes || status=$?
    else
      listed arguments --max-age "${INPUT_MAX_AGE:-}"
      request=$(forge reviewed-plan --name "$name-plan" --output "$plan" "${roots[@]}") || status=$?
      if ((status)); then give_up "Nothing was written. $(cat "$said_by_forge")" "$status"; fi
      claim=$(forge claim "$plan" --name "$name" --request "$request" --job "$run/attempts/${GITHUB_RUN_ATTEMPT:-1}" \
        "${allowed[@]}") || status=$?
      if ((status)); then give_up "Nothing was written. $(cat "$said_by_forge")" "$status"; fi
      quietly senderid apply "$plan" "${arguments[@]}" || status=$?
    fi
    ;;
  *) give_up "Invalid input command: use plan, apply, drift, changed or validate." 64 ;;
esac

# senderid has ended: from here on its status is the step's, whether or not reports succeed
set +e
report "the output exit-status" output exit-status "$status"
report "the annotations" forge annotate <"$said"
if [[ -n $claim ]]; then
  report "the comment with the result" forge conclude --name "$name" --request "$request" --comment "$claim" --status "$status" --log "$said" \
    --body "$page" --footer "$footer"
fi
if [[ ! -s $page ]]; then
  give_up "senderid $command ended with exit status $status: see the log of this step." "$status"
fi
report "the summary" summary <"$page"

case $command in
  plan)
    forge describe "$plan" >>"$GITHUB_OUTPUT" || exit 1
    output plan "$plan"
    if report "the report" senderid show "$plan" "${mask[@]}" --format html --output "$folder/senderid-report.html"; then
      output report "$folder/senderid-report.html"
      footer+=", [the report]($run#artifacts)"
    fi
    if [[ -n ${HEAD_REPOSITORY:-} ]]; then
      # reviewers would see an older comment: do not keep this plan for the merge
      forge comment --kind plan --name "$name" --body "$page" --footer "$footer" ||
        give_up "The plan is not on the pull request. $(cat "$said_by_forge")" 1
    fi
    # pending changes, and numbers that need attention, are a successful plan
    if ((status == 2 || status == 3)); then status=0; fi
    ;;
  drift)
    if ((status == 0)); then
      report "the issue" forge issue --kind drift --name "$name" --close "No drift any more. $footer"
    elif ((status != 1)); then
      # the issue reports the drift, so the step succeeds
      report "the issue" forge issue --kind drift --name "$name" --title "Sender numbers drifted" --body "$page" \
        --footer "$footer" && status=0
    fi
    ;;
esac
exit "$status"
