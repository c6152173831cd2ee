import { resolve } from 'node:path'
import type { CommandContext } from '#console/context.ts'
import { Exit, failureOf, formatFailure, UsageError } from '#console/failure.ts'
import { commandEnv, stateFolder } from '#console/state-folder.ts'
import { Checkout } from '#git/checkout.ts'
import { keepList } from '#member/keep-list.ts'
import { programCommand } from '#runtime/argv-of-program.ts'
import { GIT_HOOKS, type ScriptParts } from './hook-script.ts'
import { type HookChange, installGitHooks, uninstallGitHooks } from './install.ts'
import { withFleet } from './known-reservations.ts'
import { checkBeforeCommit, commitWait, lookAfterCommit } from './run-hook.ts'

export interface GitHooksOptions {
  readonly repo?: string
  readonly json?: true
}

/** The hooks of a git repository. */
export const gitHooks = { install, uninstall }

async function install(context: CommandContext, options: GitHooksOptions): Promise<void> {
  const checkout = await checkoutOf(context, options)
  tell(context, options, await installGitHooks(checkout, scriptParts(context)))
  // A list that is there is kept fresh by keepalive; where the fleet is away, the first commit asks.
  const host = { state: stateFolder(context), clock: context.clock }
  await withFleet(context, commitWait(context), ({ store }) => keepList(store, host))
}

async function uninstall(context: CommandContext, options: GitHooksOptions): Promise<void> {
  tell(context, options, await uninstallGitHooks(await checkoutOf(context, options)))
}

/** What a hook of git calls. What goes wrong in it is told, and ends nothing: only a refusal does. */
export async function runGitHook(context: CommandContext, hook: string): Promise<void> {
  const act = HOOKS[hook]
  if (act === undefined) {
    throw new UsageError(`there is no hook ${JSON.stringify(hook)}`, `name one of ${GIT_HOOKS.join(', ')}`)
  }
  try {
    await act(context)
  } catch (error) {
    if (error instanceof Exit) throw error
    context.tell(
      `s2: this commit was not checked against the files that others reserved\n${formatFailure(failureOf(error), false)}`,
    )
  }
}

const HOOKS: Readonly<Record<string, (context: CommandContext) => Promise<void>>> = {
  'pre-commit': checkBeforeCommit,
  'post-commit': lookAfterCommit,
}

async function checkoutOf(context: CommandContext, { repo = '.' }: GitHooksOptions): Promise<Checkout> {
  return await Checkout.at(resolve(context.folder, repo), context)
}

function scriptParts(context: CommandContext): ScriptParts {
  const { S2_STATE: state } = commandEnv(context)
  return {
    program: programCommand('s2', 'hooks', 'run'),
    state: state === undefined ? undefined : resolve(context.folder, state),
  }
}

function tell(context: CommandContext, { json }: GitHooksOptions, changes: readonly HookChange[]): void {
  const lines = changes.map(({ path, what, chained }) => `${path} ${WORDS[what](chained)}\n`)
  context.print(json === true ? `${JSON.stringify(changes, null, 2)}\n` : lines.join(''))
}

const WORDS: Readonly<Record<HookChange['what'], (chained: boolean) => string>> = {
  written: (chained) => (chained ? 'is written, and runs the hook that was there first' : 'is written'),
  renewed: (chained) => (chained ? 'is written anew, and runs the hook that was there first' : 'is written anew'),
  removed: (chained) => (chained ? 'is again the hook that was there before' : 'is removed'),
  absent: (chained) => (chained ? 'is again the hook that was there before' : 'is not there'),
  left: () => 'is not of S2, and was left as it is',
}
