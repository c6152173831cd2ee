import { existsSync } from 'node:fs'
import { dirname } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { Pauses } from '#runtime/backoff.ts'
import { LATE, waitAtMost } from '#runtime/bounded-wait.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { askHealth, healthSocket } from '#runtime/health-client.ts'
import { mayLookInto } from '#runtime/program-presence.ts'
import type { NewOutboxItem, Outbox } from '#spool/outbox.ts'

export interface OutboxWait {
  readonly clock: Clock
  readonly chance: Chance
  /** How long to wait for the bridge to take it; then it waits in the outbox alone. */
  readonly patienceMs: number
  /** Told the item's name as soon as it is durable, before the bridge is waited for; must not reject. */
  onPut?(name: string): Promise<void>
}

/** How far an item has come. */
export interface PutItem {
  readonly state: 'waiting' | 'carried'
  /** Its name in the outbox. */
  readonly name: string
}

const CARRY = { firstMs: 20, mostMs: 500, leastMs: 20 }

/** Keeps an item durably, and waits for a moment until the bridge has it. Throws what the bridge refuses it for. */
export async function putAndWait(outbox: Outbox, item: NewOutboxItem, wait: OutboxWait): Promise<PutItem> {
  const { clock, chance, patienceMs } = wait
  const name = await outbox.put(item)
  await wait.onPut?.(name)
  const began = clock.now()
  const pauses = new Pauses(CARRY, chance)
  while (clock.now() - began < patienceMs) {
    const outcome = await outbox.outcome(name)
    if (outcome === 'carried') return { state: 'carried', name }
    if (outcome === 'unknown') throw lostSight(item, name)
    if (outcome !== 'waiting') {
      throw new S2Error(outcome.code, `the bridge did not take ${whatOf(item)}: ${outcome.message}`, {
        ...(outcome.next === null ? {} : { next: outcome.next }),
      })
    }
    await pauses.wait(clock)
  }
  return { state: 'waiting', name }
}

function whatOf({ kind }: NewOutboxItem): string {
  return kind === 'send' || kind === 'post' ? 'the message' : kind === 'report' ? 'the report' : 'the act'
}

function lostSight(item: NewOutboxItem, name: string): S2Error {
  const next =
    item.kind === 'send' || item.kind === 'post'
      ? `send it again with --key ${item.key ?? name}: a message that came is not sent twice`
      : 'say it again: a report that comes twice counts once'
  return new S2Error('unknown_outcome', `${whatOf(item)} left the outbox, and nothing says whether the bridge has it`, {
    next,
  })
}

const HEALTH_MS = 1_000

/** Why keepalive does not carry what is put into the outbox just now; null where it does, as far as it says itself. */
export async function whyNotCarried(clock: Clock, state: string, from: SessionId): Promise<string | null> {
  const socket = healthSocket(state, 'keepalive')
  if (!mayLookInto(dirname(socket))) return 'keepalive is to carry it; whether it runs cannot be seen from here'
  const asked = await waitAtMost(askHealth('keepalive', { path: socket }, clock), HEALTH_MS, clock)
  if (asked === LATE || (asked.state === 'away' && existsSync(socket)))
    return 'keepalive, which is to carry it, does not answer just now'
  if (asked.state === 'away') return 'no s2-keepalive runs on this host: nothing carries it until one does'
  const trouble = Object.entries(asked.troubles).find(([topic]) => topic.startsWith('bridge ') || topic.includes(from))
  return trouble === undefined ? null : `keepalive cannot carry it now: ${trouble[1]}`
}
