import { randomBytes } from 'node:crypto'
import type { SessionId } from '#fleet/session-id.ts'
import { codeOf } from '#spool/quarantine.ts'
import { answerText, hookAnswer } from './hook-answer.ts'
import type { HookEvent } from './hook-event.ts'
import { ToldHere } from './told-here.ts'
import { waitingHere } from './waiting-here.ts'

/** What is answered to a client, and whether that makes its turn go on. */
export interface AnsweredHook {
  /** For its standard output, or the body of a response; empty for nothing to say. */
  readonly text: string
  readonly isBlocked: boolean
}

/** Nothing is said, and the turn ends as it would. */
export const SILENCE: AnsweredHook = { text: '', isBlocked: false }

/** Events that are answered with something, where something waits. */
const ANSWERED = new Set(['start', 'prompt', 'tool_ended', 'turn_ended'])

/**
 * Answers a client's hook from this host's folders alone, and remembers what was told. `wall`: milliseconds since 1970. Throws what the
 * disk says; then nothing was told.
 */
export async function answerHook(
  state: string,
  event: HookEvent,
  named: SessionId | null,
  wall: number,
): Promise<AnsweredHook> {
  if (event.subagent !== null || !ANSWERED.has(event.kind)) return SILENCE
  const waiting = await waitingHere(state, event, named, wall)
  if (event.kind !== 'start' && waiting.mail.length === 0 && waiting.tasks.length === 0) return SILENCE
  const memory = new ToldHere(state)
  const told = await orAfter(memory, () => memory.read(event))
  const answer = hookAnswer(event, waiting, told, wall)
  if (answer === null) return SILENCE
  if (JSON.stringify(answer.told) !== JSON.stringify(told)) {
    memory.write(event, answer.told, randomBytes(8).toString('hex'))
  }
  return { text: answerText(event, answer), isBlocked: answer.kind === 'block' }
}

/** The act, once more where its folder was missing. */
export async function orAfter<T>(folders: { ensure(): Promise<void> }, act: () => T): Promise<T> {
  try {
    return act()
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error
    await folders.ensure()
    return act()
  }
}
