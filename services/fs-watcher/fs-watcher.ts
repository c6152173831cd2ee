import { join } from 'node:path'
import { redact } from '#fleet/redact.ts'
import type { Life, Program } from '#runtime/run.ts'
import { watchesInForce } from '#runtime/watch.ts'
import { Inbox } from '#spool/inbox.ts'
import { openStore } from '#store/open.ts'
import { type Config, readConfig } from './config.ts'
import { execWake } from './exec.ts'
import { Rouser } from './rouser.ts'
import { type SourceParts, watchDatabase, watchInbox } from './sources.ts'
import { Woken } from './woken.ts'

/** Hears of new messages and wakes the agent they are for: once per message, and never twice at a time. */
export const program: Program<Config> = { name: 'fs-watcher', redact, readConfig, start }

/** How often it says that it lives though nothing came. */
const ROUND_MS = 5_000

async function start(config: Config, life: Life): Promise<void> {
  const { clock, log, health, draining, stack } = life
  const woken = await Woken.open(join(config.state, 'watcher', `${config.source}.json`), (why) =>
    log.warn('memory of wakes', { why }),
  )
  const wakes = health.metrics.counter('s2_watcher_wakes_total', 'Wake commands that worked.')
  const failures = health.metrics.counter('s2_watcher_wake_failures_total', 'Wake commands that failed.')
  const looks = health.metrics.counter('s2_watcher_looks_total', 'Looks at the source that were finished.')
  let lastMs = 0
  health.metrics.gauge('s2_watcher_last_wake_seconds', 'How long the last wake command ran.', () => lastMs / 1000)
  const rouser = new Rouser({
    clock,
    chance: life.chance,
    log,
    signal: draining,
    wake: execWake(config.wake, clock, log),
    keep: (ids) => woken.add(ids),
    onWake: ({ ok, tookMs }) => {
      if (ok) wakes.add()
      else failures.add()
      lastMs = tookMs
      health.trouble('wake', ok ? null : 'the last wake command failed: see the log')
    },
  })
  health.metrics.gauge('s2_watcher_backlog', 'Messages that wait for a wake.', () => rouser.backlog)
  const means = (): string => watchesInForce()[0]?.means ?? 'polls'
  const status = (): string =>
    `watches the ${config.source} by ${means()}, ${wakes.value} wakes, ${rouser.backlog} waiting`
  const parts: SourceParts = {
    clock,
    log,
    signal: draining,
    onMessage: (message) => rouser.hear(message),
    onTrouble: (why) => health.trouble('source', why),
    onLook: () => {
      looks.add()
      life.round(status())
    },
  }
  const watching =
    config.source === 'inbox' ? inboxOf(config, woken, parts) : databaseOf(config, woken, rouser, parts, life)
  watching.catch((error: Error) => life.fail(error))
  stack.defer(async () => {
    await Promise.allSettled([watching, rouser.idle()])
    await woken.save()
  })
}

async function inboxOf(config: Config, woken: Woken, parts: SourceParts): Promise<void> {
  const inbox = new Inbox(config.state, (fault) => parts.log.warn('a file in the inbox', { fault }))
  await watchInbox(inbox, woken, config.pollMs, parts)
}

async function databaseOf(
  config: Config,
  woken: Woken,
  rouser: Rouser,
  parts: SourceParts,
  { clock, chance, log }: Life,
): Promise<void> {
  await using store = await openStore(config.storeUrl, { clock, chance, log }, null, 'read')
  const beat = roundWhileQuiet(store, parts)
  await Promise.all([watchDatabase(store, woken, rouser, config.wakeFor, parts), beat])
}

/** A database where nothing is written gives no batches: a look at it shows that it can still be read. */
async function roundWhileQuiet(
  store: { conversations(): Promise<unknown> },
  { clock, signal, onLook, onTrouble }: SourceParts,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await store.conversations()
      onTrouble(null)
      onLook()
    } catch (error) {
      onTrouble((error as Error).message)
    }
    await clock.sleep(ROUND_MS, signal).catch(() => undefined)
  }
}
