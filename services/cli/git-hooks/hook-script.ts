import { EXIT } from '#console/failure.ts'
import { quoted } from '#console/shell-quote.ts'

/** The hooks of git that S2 has a part in. A merge that git makes by itself changes nothing that was not committed before. */
export const GIT_HOOKS = ['pre-commit', 'post-commit'] as const
export type GitHook = (typeof GIT_HOOKS)[number]

/** What is added to the name of a hook that was there before. */
export const BEFORE = '.before-s2'

const MARK = '# Written by `s2 hooks install --git`; `s2 hooks uninstall --git` removes it.'

export interface ScriptParts {
  /** The program with its arguments, which get the name of the hook. */
  readonly program: readonly [string, ...string[]]
  /** The state folder of those who set none. */
  readonly state: string | undefined
}

/** Whether a hook is one that S2 wrote. */
export function isOurScript(text: string): boolean {
  return text.includes(MARK)
}

/**
 * A hook that runs the one that was there before, and then ours. Only the exit code that says "refused" ends a commit: a
 * program that is gone or broken keeps nobody from working.
 */
export function hookScript(hook: GitHook, { program, state }: ScriptParts): string {
  const [interpreter, file = interpreter] = program
  const ours = [...program, hook].map(quoted).join(' ')
  return [
    '#!/bin/sh',
    MARK,
    `before=$0${BEFORE}`,
    'if [ -x "$before" ]; then "$before" "$@" || exit; fi',
    `if ! [ -x ${quoted(interpreter)} ] || ! [ -r ${quoted(file)} ]; then`,
    `  echo 's2: this commit was not checked against the files that others reserved: the program of this hook is gone' >&2`,
    `  echo '  next: s2 hooks install --git' >&2`,
    '  exit 0',
    'fi',
    ...(state === undefined ? [] : [`S2_STATE=\${S2_STATE:-${quoted(state)}}`, 'export S2_STATE']),
    ours,
    `[ $? -ne ${EXIT.refused} ]`,
    '',
  ].join('\n')
}

/** The line by which a hook that somebody else writes calls ours. */
export function callOf(hook: GitHook, { program }: ScriptParts): string {
  const ours = [...program, hook].map(quoted).join(' ')
  return `${ours}; [ $? -ne ${EXIT.refused} ] || exit 1`
}
