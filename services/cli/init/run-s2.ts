import { programCommand } from '#runtime/argv-of-program.ts'
import { hasSucceeded } from '#runtime/run-command.ts'
import type { BringUp } from './bring-up.ts'
import { environmentOf, runAs, type ServiceUser } from './service-user.ts'

/** What a command of s2 said, and why it failed; null where it did not. */
export interface S2Answer {
  /** Its JSON; null where it printed none. */
  readonly said: unknown
  readonly failure: { readonly message: string; readonly next: string | undefined } | null
}

/** Longer than any of these commands waits for another program. */
const S2_MS = 120_000

/** Runs a command of s2 as a user of services. What is secret goes to its standard input. */
export async function runS2(
  { context, dialogue, settings }: BringUp,
  user: ServiceUser,
  args: readonly string[],
  input = '',
): Promise<S2Answer> {
  const env = environmentOf(user, settings, context)
  const command = { argv: programCommand('s2', ...args, '--json'), env, timeoutMs: S2_MS, input }
  const ending = await runAs(user, command, context, dialogue.signal)
  dialogue.throwIfInterrupted()
  const said = parsed(ending.stdout.toString('utf8'))
  return { said, failure: hasSucceeded(ending) ? null : failureIn(ending.stderr) }
}

function failureIn(stderr: string): { readonly message: string; readonly next: string | undefined } {
  const line = stderr
    .trim()
    .split('\n')
    .findLast((each) => each.startsWith('{'))
  const { error } = (parsed(line ?? '') ?? {}) as { error?: { message: string; next?: string } }
  return { message: error?.message ?? (stderr.trim() || 'it failed'), next: error?.next }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}
