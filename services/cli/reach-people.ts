import type { WakeAdapter } from '#agents/wake/adapter.ts'
import { desktop, webhook } from '#agents/wake/for-people.ts'
import { handedOn, wakeLine, webhookTarget } from '#agents/wake/wake-settings.ts'
import type { WakeTrial } from '#agents/wake/wake-trial.ts'
import type { CommandContext } from '#console/context.ts'
import { commandEnv } from '#console/state-folder.ts'
import type { Rung } from '#fleet/wake-ladder.ts'
import { trialText } from '#fleet/wake-text.ts'
import { boundedWait } from '#runtime/bounded-wait.ts'
import { readSettings } from '#runtime/read-settings.ts'
import { hasSucceeded, howItEnded, runCommand } from '#runtime/run-command.ts'

/** Ways that reach a person, or a program of theirs: no client says that it read what came by them. */
export const PEOPLE_RUNGS: readonly Rung[] = ['exec', 'webhook', 'desktop']

const OUTPUT_MAX = 16_000

/** The ways to people, as the settings of this host have them. Throws ConfigError. */
export function peopleAdapters(context: CommandContext): WakeAdapter[] {
  const { clock, env } = context
  const values = readSettings(commandEnv(context), [
    'S2_WAKE',
    'S2_WAKE_TIMEOUT',
    'S2_WAKE_WEBHOOK',
    'S2_WAKE_WEBHOOK_TOKEN_FILE',
  ])
  const { S2_WAKE: line, S2_WAKE_TIMEOUT: timeoutMs } = values
  const argv = line === undefined ? null : wakeLine(line)
  const exec: WakeAdapter = {
    rung: 'exec',
    timeoutMs,
    whyNot: async () => (argv === null ? 'no command is set (S2_WAKE)' : null),
    wake: async (_session, text, signal) => {
      if (argv === null) throw new Error('no command is set')
      const bounds = { timeoutMs, outputMax: OUTPUT_MAX, beyond: 'keep_tail' } as const
      const ending = await runCommand({ argv, env: handedOn(env), input: inputOf(text), ...bounds }, clock, signal)
      if (!hasSucceeded(ending)) throw new Error(`the command failed: ${howItEnded(ending)}`)
      return 'sent'
    },
  }
  return [exec, webhook(webhookTarget(values)), desktop(clock, handedOn(env))]
}

/** What the command reads from the watcher, with no message in it. */
function inputOf(text: string): string {
  const call = { target: 'wake-test', sessions: [], count: 0, messages: [], unread: 0, earlier: [], trial: text }
  return `${JSON.stringify(call)}\n`
}

/** Tries one way to people, once it may be: that it was sent is all that can be said of it. */
export async function tryPeople(
  { rung, timeoutMs, whyNot, wake }: WakeAdapter,
  id: string,
  mayTry: (rung: Rung) => Promise<boolean>,
  { clock }: Pick<CommandContext, 'clock'>,
  signal: AbortSignal,
): Promise<WakeTrial> {
  const no = (why: string): WakeTrial => ({ rung, outcome: 'no', readMs: null, why })
  const why = await whyNot(null, signal)
  if (why !== null) return no(why)
  if (!(await mayTry(rung))) return no('nobody said that it may be tried; name it with --only, or say so when asked')
  try {
    await boundedWait((over) => wake(null, trialText(id), over), timeoutMs, clock, signal)
    return { rung, outcome: 'sent', readMs: null, why: null }
  } catch (error) {
    return no((error as Error).message)
  }
}
