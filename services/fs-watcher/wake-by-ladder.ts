import { randomBytes } from 'node:crypto'
import type { ClientSession } from '#agents/client-session.ts'
import type { WakeAdapter } from '#agents/wake/adapter.ts'
import { type Climb, type ClimbParts, climb } from '#agents/wake/climb.ts'
import { trialName, type WakeMemory } from '#agents/wake/wake-memory.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { type ClientView, type Rung, whatClientIsAt } from '#fleet/wake-ladder.ts'
import { type WakeFacts, wakeText } from '#fleet/wake-text.ts'
import type { Clock } from '#runtime/clock.ts'
import { chooseSession, hasClientEnded } from './choose-session.ts'
import type { Climbs } from './climbs.ts'
import type { MailSource, WakeTarget } from './mail-source.ts'
import { noteReached, noteUnwoken, triedText, type UnwokenParts } from './unwoken-agents.ts'
import type { WakeWaits } from './wake-waits.ts'
import type { Wake, WakeCall } from './waker.ts'

export interface LadderParts extends UnwokenParts {
  readonly source: Pick<MailSource, 'unread' | 'covers' | 'targetOf' | 'nameOf'>
  /** What a person has tried on this host. */
  readonly trials: () => Promise<Pick<WakeMemory, 'worked'>>
  readonly sessions: () => Promise<readonly ClientSession[]>
  /** Whether a target is all that this host has, so that a client which names no session is meant. */
  readonly isSole: (target: WakeTarget) => boolean
  /** The rungs for one call, in their order; null: for no mail, so that the command is none of them. */
  readonly adapters: (call: WakeCall | null) => readonly WakeAdapter[]
  readonly climbs: Climbs
  readonly waits: Pick<WakeWaits, 'note' | 'over'>
}

/** How often it is looked whether a client may be woken now. */
const LOOK_MS = 500

/**
 * Waits while the client of a target is at work, at a dialog or at a limit: it reads its mail when its turn ends. Answers whether it
 * waited at all.
 */
export async function untilDue(
  target: WakeTarget,
  parts: LadderParts,
  signal: AbortSignal,
): Promise<'at once' | 'waited'> {
  const { clock, waits } = parts
  for (let waited: 'at once' | 'waited' = 'at once'; ; waited = 'waited') {
    const session = await choose(target, parts)
    const wait = session === null || hasClientEnded(session) ? null : whatClientIsAt(viewOf(session, clock))
    if (wait === null) {
      waits.over(target)
      return waited
    }
    waits.note(target, wait, session)
    await clock.sleep(LOOK_MS, signal)
  }
}

/**
 * Climbs the ladder of a target. What is sent is noted beside it, so that a restart sends no more than the budget; what is waited for, as
 * it lasts. A disk that takes no note does not keep the agent asleep: this process counts all the same.
 */
export async function climbFor(
  target: WakeTarget,
  wake: Pick<ClimbParts, 'adapters' | 'look' | 'text'>,
  parts: LadderParts,
  signal: AbortSignal,
): Promise<Climb> {
  const { clock, memory, waits, climbs, log } = parts
  const trials = await parts.trials()
  const climbing = climb(
    {
      ...wake,
      clock,
      takePlace: (rung) => climbs.takePlace(rung),
      worked: (session) => firstRung(target, session, memory, trials),
      sent: () => memory.sent(target),
      newId: () => randomBytes(6).toString('hex'),
      onSend: async () => {
        waits.over(target)
        const noted = memory.noteSent(target, clock.wall())
        await noted.catch((error: unknown) => log.warn('wake not noted', { target, error }))
      },
      onWait: (wait, session) => waits.note(target, wait, session),
    },
    signal,
  )
  return await climbing.finally(() => waits.over(target))
}

/** Wakes by the rungs of the ladder until one is read, once no other climb of the agent goes on; rejects where none was. */
export function wakeByLadder(parts: LadderParts): Wake {
  return async (call, signal) => {
    const climbing = async (): Promise<void> => await conclude(call, await climbForMail(call, parts, signal), parts)
    await parts.climbs.inTurn(call.target, climbing, signal)
  }
}

async function climbForMail(call: WakeCall, parts: LadderParts, signal: AbortSignal): Promise<Climb> {
  const { source } = parts
  const { target } = call
  const fresh = [...call.fresh]
  const isTaken = async (): Promise<boolean> => {
    const unread = new Set((await source.unread(target)).map(({ to, id }) => `${to} ${id}`))
    return fresh.every(({ to, id }) => !unread.has(`${to} ${id}`))
  }
  const look = async () => ({ session: await choose(target, parts), isTaken: await isTaken() })
  const text = (id: string): string => wakeText(id, factsOf(call, source))
  return await climbFor(target, { adapters: parts.adapters(call), look, text }, parts, signal)
}

/** The rung that worked last, whether for a wake or for a person who tried. */
export function firstRung(
  target: WakeTarget,
  session: ClientSession | null,
  memory: Pick<WakeMemory, 'worked'>,
  trials: Pick<WakeMemory, 'worked'>,
): Rung | null {
  const woken = memory.worked(target, session)
  const tried = session === null ? null : trials.worked(trialName(session), session)
  return (tried !== null && tried.at > (woken?.at ?? 0) ? tried : woken)?.rung ?? null
}

async function conclude(call: WakeCall, end: Climb, parts: LadderParts): Promise<void> {
  const { target } = call
  if (!end.isRead) {
    const sessions = [...new Set(call.mail.map(({ to }) => to))]
    await noteUnwoken({ target, sessions, matter: { messages: call.mail.length }, idleWith: null }, end, parts)
    throw new Error(`no way to wake it was read: ${triedText(end)}`)
  }
  await noteReached(target, parts)
  await noteWorked(target, end, parts)
}

/** Keeps which rung was read, for the next time. */
export async function noteWorked(target: WakeTarget, end: Climb, { memory, clock, log }: LadderParts): Promise<void> {
  const { rung, readMs, session } = end
  if (rung === null || readMs === null) return
  await memory.noteWorked(target, session, { rung, readMs: Math.round(readMs), at: clock.wall() })
  log.info('wake read', { target, rung, readMs: Math.round(readMs), tries: end.tries.length })
}

function factsOf({ mail, messages, earlier }: WakeCall, source: Pick<MailSource, 'nameOf'>): WakeFacts {
  const previews = [...messages, ...earlier]
  const senders = new Map(previews.map(({ to, id, sender }) => [`${to} ${id}`, sender]))
  return {
    from: mail.map(({ to, id, from }) => senders.get(`${to} ${id}`) ?? source.nameOf(from) ?? from),
    messages: mail.length,
    assigned: previews.flatMap(({ assigns }) => assigns ?? []),
    task: null,
  }
}

async function choose(target: WakeTarget, { sessions, source, isSole }: LadderParts): Promise<ClientSession | null> {
  const covers = (session: SessionId): boolean => source.covers(target, session)
  return chooseSession(await sessions(), { covers, takesUnnamed: isSole(target) })
}

function viewOf({ activity, heardAt }: ClientSession, clock: Clock): ClientView {
  return { state: activity.state, heardMs: clock.wall() - heardAt }
}
