import { join } from 'node:path'
import { redact } from '#fleet/redact.ts'
import { watchesInForce } from '#runtime/folder-watch.ts'
import { runLean } from '#runtime/memory-tuning.ts'
import type { Life, Program } from '#runtime/run.ts'
import { TroubleLog } from '#runtime/trouble-log.ts'
import { type Config, readConfig } from './config.ts'
import type { MailSource, MailSourceEvents } from './mail-source.ts'
import { wakeByCommand } from './run-wake-command.ts'
import { UntakenTasks } from './untaken-tasks.ts'
import { WakeProcesses } from './wake-processes.ts'
import { type Wake, Waker, type WakerParts } from './waker.ts'
import { WokenMessages } from './woken-messages.ts'

/** Notices new messages and wakes the agent they are for: once for each message, and never twice at a time. */
export const program: Program<Config> = {
  name: 'fs-watcher',
  about: 'Watches for mail, and wakes the agent when some has come: by the ways of its client, or by a command.',
  redact,
  readConfig,
  start,
}

async function start(config: Config, life: Life): Promise<void> {
  runLean()
  const { clock, log, health, draining, stack } = life
  const wakeProcesses = new WakeProcesses(join(config.state, 'watcher', `${config.source}-running.json`))
  const left = await wakeProcesses.endLeftovers(clock)
  if (left > 0) log.warn('leftover wakes ended', { groups: left })
  const woken = await WokenMessages.open(join(config.state, 'watcher', `${config.source}.json`), (why) =>
    log.error('wake record unreadable', { why }),
  )
  const metrics = watcherMetrics(life)

  const troubles = new TroubleLog({ log, health })
  const untaken = new UntakenTasks()
  const events: MailSourceEvents = {
    onTask: (to, said) => untaken.hear(to, said),
    onHint: (target) => {
      metrics.hints.add()
      waker.hint(target)
    },
    onLook: () => {
      metrics.looks.add()
      troubles.over('source')
      health.trouble('source', null)
      life.round(`watches the ${config.source} by ${watchMeans()}; ${metrics.wakes.value} wakes so far`)
    },
    onTrouble: (error) => {
      const why = error instanceof Error ? error.message : String(error)
      troubles.met('source', why, `the ${config.source} cannot be read: ${why}`, error)
    },
  }
  health.trouble('source', `the ${config.source} has not been read yet`)
  const source = await openSource(config, woken, events, life)
  const command = config.wake === null ? null : wakeByCommand(config.wake, wakeProcesses, clock, log)
  const waker = new Waker({
    clock,
    chance: life.chance,
    log,
    signal: draining,
    source,
    woken,
    ...(await howToWake(config, command, source, untaken, life)),
    onWake: (ended) => {
      metrics.note(ended)
      health.trouble('wake', ended.error === null ? null : String(ended.error))
    },
  })
  const watching = source.watch()
  watching.catch((error: Error) => life.fail(error))
  stack.defer(async () => {
    await Promise.allSettled([watching, waker.idle()])
    await woken.save()
  })
}

/** By the command alone, or by the ladder of all that is allowed. */
async function howToWake(
  config: Config,
  command: Wake | null,
  source: MailSource,
  untaken: UntakenTasks,
  { clock, log, health, draining, stack }: Life,
): Promise<Pick<WakerParts, 'wake' | 'untilDue'>> {
  if (config.wakeBy === null && command !== null) return { wake: command }
  const [{ openLadder }, { wakeIdleHolders }, { wakeForUntaken }, { untilDue, wakeByLadder }, { lookAfterUnwoken }] =
    await Promise.all([
      import('./open-ladder.ts'),
      import('./wake-idle-holders.ts'),
      import('./wake-untaken.ts'),
      import('./wake-by-ladder.ts'),
      import('./unwoken-agents.ts'),
    ])
  const parts = await openLadder(config, command, source, untaken, { clock, log, health })
  const looking = Promise.all([
    lookAfterUnwoken(parts, draining),
    wakeIdleHolders(parts, draining),
    wakeForUntaken(parts, draining),
  ])
  stack.defer(async () => void (await looking))
  return { wake: wakeByLadder(parts), untilDue: async (target, signal) => await untilDue(target, parts, signal) }
}

async function openSource(
  config: Config,
  woken: WokenMessages,
  events: MailSourceEvents,
  life: Life,
): Promise<MailSource> {
  const { clock, chance, log, draining: signal, stack } = life
  if (config.source === 'inbox') {
    const [{ InboxSource }, { Inbox }] = await Promise.all([import('./inbox-source.ts'), import('#spool/inbox.ts')])
    return new InboxSource({ ...events, clock, log, signal, inbox: new Inbox(config.state), ...config })
  }
  const [{ DatabaseSource }, { openStore }] = await Promise.all([
    import('./database-source.ts'),
    import('#store/open-store.ts'),
  ])
  const store = stack.use(await openStore(config.storeUrl, { clock, chance, log, onBroken: life.fail }, null, 'read'))
  return new DatabaseSource(config.wakeFor, { ...events, clock, chance, log, signal, store, woken })
}

/** The means by which changes are heard of: polls alone, where the system lets no folder be watched. */
function watchMeans(): string {
  const found = new Set(watchesInForce().map((each) => each.means))
  return found.has('none') || found.size === 0 ? 'polls' : [...found].join(', ')
}

function watcherMetrics({ health: { metrics } }: Life) {
  const hints = metrics.counter('s2_watcher_hints_total', 'Times that new mail was heard of, or thought possible.')
  const looks = metrics.counter('s2_watcher_looks_total', 'Looks at the whole source that were finished.')
  const wakes = metrics.counter('s2_watcher_wakes_total', 'Wakes that were read, or whose command worked.')
  const failures = metrics.counter(
    's2_watcher_wake_failures_total',
    'Wakes that were not read, or whose command failed.',
  )
  let last = { waitedMs: 0, tookMs: 0 }
  metrics.gauge('s2_watcher_last_wake_wait_seconds', 'From the hint to the last wake.', () => last.waitedMs / 1000)
  metrics.gauge('s2_watcher_last_wake_seconds', 'How long the last wake took.', () => last.tookMs / 1000)
  metrics.gauge('s2_watcher_hears', '1 while the system tells of changes, 0 while only polls do.', () =>
    watchMeans() === 'polls' ? 0 : 1,
  )
  const note = (ended: { readonly error: unknown; readonly waitedMs: number; readonly tookMs: number }): void => {
    if (ended.error === null) wakes.add()
    else failures.add()
    last = ended
  }
  return { hints, looks, wakes, note }
}
