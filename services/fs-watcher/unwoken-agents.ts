import type { Climb } from '#agents/wake/climb.ts'
import type { UnwokenAgent, WakeMemory } from '#agents/wake/wake-memory.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Log } from '#runtime/log.ts'
import { Loop } from '#runtime/loop.ts'
import { hasClientEnded } from './choose-session.ts'
import type { MailSource, WakeTarget } from './mail-source.ts'
import type { WakeActs, WakeMatter } from './wake-acts.ts'

export interface UnwokenParts {
  readonly clock: Clock
  readonly log: Pick<Log, 'info' | 'warn'>
  readonly source: Pick<MailSource, 'unread'>
  readonly memory: WakeMemory
  readonly acts: Pick<WakeActs, 'failed' | 'read'>
}

interface Unwoken extends UnwokenAgent {
  readonly target: WakeTarget
  readonly matter: WakeMatter
}

/** Tells the fleet once until the agent is reached again. Where no client runs there was nobody to wake, which beats tell. */
export async function noteUnwoken(
  { target, matter, sessions, idleWith }: Unwoken,
  end: Climb,
  { memory, acts, log }: UnwokenParts,
): Promise<void> {
  const tried = triedText(end)
  log.warn('agent not woken', { target, ...matter, tried })
  const isThere = end.session !== null && !hasClientEnded(end.session)
  if (!(isThere || end.tries.some(({ refusal }) => refusal === null))) return
  const told = memory.unwoken().get(target)
  // mail that waits lasts longer than the rest of a client
  const isNews = told === undefined || (told.idleWith !== null && idleWith === null)
  if (!isNews) return
  if (told !== undefined || (await acts.failed(sessions, matter, tried))) {
    await memory.noteUnwoken(target, { sessions, idleWith })
  }
}

export async function noteReached(target: WakeTarget, { memory, acts }: UnwokenParts): Promise<void> {
  const told = memory.unwoken().get(target)
  if (told === undefined) return
  await acts.read(told.sessions, told.idleWith?.task ?? null)
  await memory.noteReached(target)
}

/** Closes what was told of clients that idled with a task, once they go on or have it no more. `rests`: those that last. */
export async function endUnwokenRests(rests: ReadonlySet<string>, parts: UnwokenParts): Promise<void> {
  for (const [target, { idleWith }] of parts.memory.unwoken()) {
    if (idleWith !== null && !rests.has(idleWith.rest)) await noteReached(target, parts)
  }
}

/** How often it is looked whether an agent that was not woken has read its mail after all. */
const LOOK_AFTER_MS = 15_000

/** Closes what was told of agents that were not woken, once their mail is taken; until the signal aborts. */
export async function lookAfterUnwoken(parts: UnwokenParts, signal: AbortSignal): Promise<void> {
  const { clock, memory, source, log } = parts
  const loop = new Loop({
    clock,
    signal,
    step: async () => {
      for (const [target, { idleWith }] of memory.unwoken()) {
        if (idleWith === null && (await source.unread(target)).length === 0) await noteReached(target, parts)
      }
      return LOOK_AFTER_MS
    },
    onError: (error) => {
      log.warn('agents that were not woken cannot be looked after', { error })
      return LOOK_AFTER_MS
    },
  })
  await loop.done
}

/** What was tried, for people. */
export function triedText({ tries, session }: Climb): string {
  if (tries.length === 0) return session === null ? 'no session of a client is known' : 'no rung is allowed'
  const last = new Map(tries.map(({ rung, refusal }) => [rung, refusal ?? 'sent, not read']))
  return [...last].map(([rung, outcome]) => `${rung} (${outcome})`).join(', ')
}
