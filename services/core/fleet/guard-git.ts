/** How one verb of git may be called by a guarded command. */
export interface GitRule {
  readonly writes: boolean
  /** Options that are one whole word. */
  readonly options: RegExp
  /** Options with a value in the next word. */
  readonly valued: Readonly<Record<string, RegExp>>
  readonly operands: 'none' | 'revisions' | 'paths'
  /** What git is always told, before the verb and behind it. */
  readonly always: readonly string[]
  readonly alwaysAfter: readonly string[]
}

/** What a repository may configure to run programs, as far as settings reach: the sandbox is for the rest (filters, for example). */
const ALWAYS = [
  '--no-pager',
  ...[
    'core.hooksPath=/dev/null',
    'core.fsmonitor=false',
    'core.editor=false',
    'core.sshCommand=false',
    'diff.external=',
    'commit.gpgSign=false',
    'gc.auto=0',
    'maintenance.auto=false',
    'protocol.allow=never',
    'submodule.recurse=false',
  ].flatMap((setting) => ['-c', setting]),
]
const NO_PROGRAMS = ['--no-ext-diff', '--no-textconv']
const NEVER = /^(?!)/
const TEXT = /^[^-\s][^\0]*$/
const BRANCH = /^[A-Za-z0-9_][A-Za-z0-9_./-]{0,200}$/

const reads = (options: RegExp, operands: GitRule['operands'], alwaysAfter: readonly string[] = []): GitRule => ({
  writes: false,
  options,
  valued: {},
  operands,
  always: ['--no-optional-locks', ...ALWAYS],
  alwaysAfter,
})
const writes = (options: RegExp, operands: GitRule['operands'], valued: GitRule['valued'] = {}): GitRule => ({
  writes: true,
  options,
  valued,
  operands,
  always: ALWAYS,
  alwaysAfter: [],
})

const VERBS: Readonly<Record<string, GitRule>> = {
  status: reads(/^(?:-s|-b|--short|--branch|--porcelain(?:=v[12])?)$/, 'none', ['--ignore-submodules=all']),
  log: reads(/^(?:-n?\d{1,5}|--oneline|--graph|--stat|--name-only|--name-status)$/, 'revisions', NO_PROGRAMS),
  diff: reads(/^(?:--stat|--cached|--staged|--name-only|--name-status)$/, 'revisions', [
    ...NO_PROGRAMS,
    '--ignore-submodules=all',
  ]),
  show: reads(/^(?:--stat|--name-only|--name-status|--oneline)$/, 'revisions', NO_PROGRAMS),
  branch: reads(/^(?:-[arv]|-vv|--list|--all|--show-current)$/, 'none'),
  'ls-files': reads(/^(?:-m|-o|--modified|--others|--exclude-standard)$/, 'paths'),
  'rev-parse': reads(/^(?:--abbrev-ref|--short|--show-toplevel)$/, 'revisions'),
  add: writes(/^(?:-A|-u|--all|--update)$/, 'paths'),
  commit: writes(/^(?:-a|--all|--allow-empty)$/, 'none', { '-m': TEXT }),
  switch: writes(NEVER, 'revisions', { '-c': BRANCH }),
  restore: writes(/^(?:--staged|--worktree)$/, 'paths'),
}

/** Null for a verb that no guarded command may use. */
export function gitRule(verb: string): GitRule | null {
  return Object.hasOwn(VERBS, verb) ? (VERBS[verb] ?? null) : null
}
