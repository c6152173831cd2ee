import { setTimeout as sleep } from 'node:timers/promises'
import { hintCredentials } from '../../../services/core/spool/credential-hint.ts'
import { ROLES, workerOf } from '../../rehearse/stage.ts'
import { seconds } from '../../rehearse/telling.ts'
import { until } from '../../until.ts'
import { type Cast, LOSSY, OURS, REACHABLE } from './cast.ts'
import type { Fleet } from './fleet.ts'
import { LOSS } from './network.ts'

/** As by default. */
const OVERLAP_MS = 600_000
const LIFETIME_MS = 3 * 3_600_000

/** All eight get new credentials at once, and hear a hint of them. */
export async function hintedCredentials(cast: Cast): Promise<void> {
  const { telling, table } = cast
  telling.chapter('New credentials for all, with a hint')
  const took = await spread(
    cast,
    ROLES.map((_, index) => index + 1),
  )
  const most = Math.max(...took)
  telling.check(
    `signed and sealed credentials were in force on ${took.length} machines ${seconds(most)} after they were published`,
    table.note(
      `credentials in force on ${took.length} machines at once, after a hint`,
      most,
      OURS.spread,
      'credentials',
    ),
    took.map(seconds).join(),
  )
}

/** The same for the machine whose line is bad. */
export async function hintedOnBadLine(cast: Cast): Promise<void> {
  const { telling, table } = cast
  telling.chapter('New credentials over the bad line')
  const [took = Number.NaN] = await spread(cast, [LOSSY])
  telling.check(
    `a line that loses ${LOSS * 100} % each way has them not much later`,
    table.note(`the same on the line that loses ${LOSS * 100} %`, took, null, 'credentials'),
    seconds(took),
  )
}

export async function unhintedCredentials(cast: Cast): Promise<void> {
  const { fleet, telling, table } = cast
  await Promise.all(REACHABLE.map((each) => fleet.loseHints(each, true)))
  // Whose folder has become another looks once: what is published after that is found by the poll alone.
  await sleep(5_000)
  const took = await spread(cast, REACHABLE)
  await Promise.all(REACHABLE.map((each) => fleet.loseHints(each, false)))
  const good = took.filter((_, index) => REACHABLE[index] !== LOSSY)
  telling.check(
    'credentials spread by the poll alone',
    table.note(`credentials on ${good.length} machines without a hint`, Math.max(...good), OURS.poll, 'credentials'),
    good.map(seconds).join(),
  )
  telling.check(
    'which is no hint',
    good.some((each) => each > OURS.hint * 1_000),
    good.map(seconds).join(),
  )
  // A fetch over this line may be lost whole, and is tried again: how soon is chance, and only that it comes is promised.
  table.note(
    `the same on the line that loses ${LOSS * 100} %`,
    took[REACHABLE.indexOf(LOSSY)] ?? Number.NaN,
    null,
    null,
  )
}

/** Gives workers new credentials in one round of the issuer: how long each had not its own after it was published, milliseconds. */
async function spread({ fleet, store }: Cast, numbers: readonly number[]): Promise<number[]> {
  const before = numbers.map((each) => fleet.tokenOf(each))
  const serials = await Promise.all(
    numbers.map(async (each) => (await store.issueTokens(workerOf(each), OVERLAP_MS, LIFETIME_MS)).serial),
  )
  await hintCredentials(fleet.lead.state)
  const published = new Map<number, number>()
  const inForce = new Map<number, number>()
  const follow = async (): Promise<boolean> => {
    const now = performance.now()
    const workers = published.size < numbers.length ? await store.workers() : []
    for (const [index, number] of numbers.entries()) {
      const worker = workers.find(({ agent }) => agent === workerOf(number))
      if (!published.has(number) && (worker?.published ?? 0) >= (serials[index] ?? 0)) published.set(number, now)
      if (!inForce.has(number) && fleet.tokenOf(number) !== before[index]) inForce.set(number, performance.now())
    }
    return published.size === numbers.length && inForce.size === numbers.length
  }
  await until('the new credentials are in force', follow, 150_000)
  return numbers.map((each) => Math.max(0, (inForce.get(each) ?? 0) - (published.get(each) ?? 0)))
}

/** How long a worker had not its new credential after `s2` had published it, milliseconds. */
export async function rotated(fleet: Fleet, number: number): Promise<number> {
  const before = fleet.tokenOf(number)
  const has = until(`worker ${number} has its new credential`, () => fleet.tokenOf(number) !== before, 150_000)
  const hadAt = has.then(() => performance.now())
  await fleet.lead.s2('credential', 'rotate', workerOf(number))
  const publishedAt = performance.now()
  return Math.max(0, (await hadAt) - publishedAt)
}
