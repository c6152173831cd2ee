import { createServer } from 'node:net'
import { join } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import { readLetter } from '#fleet/letters.ts'
import { backoff } from '#runtime/backoff.ts'
import { ConfigError } from '#runtime/config.ts'
import { Loop } from '#runtime/loop.ts'
import { parseAddress } from '#runtime/settings.ts'
import { Inbox } from '#spool/inbox.ts'
import { openStore } from '#store/open.ts'
import type { Store } from '#store/store.ts'
import { failureOf } from '../failure.ts'
import { askHealth } from '../health.ts'
import { type Overview, readOverview, renderOverview } from '../overview.ts'
import { makeRemote, Publication } from '../publication.ts'
import { storeParts } from '../reach.ts'
import { painter, show } from '../screen.ts'
import type { Shell } from '../shell.ts'
import { serveControl } from './control.ts'
import { Dealer, type DemoTask } from './demo.ts'
import { enlist } from './enlist.ts'
import { type Fleet, ORCHESTRATOR } from './fleet.ts'
import { guardFleet } from './guarding.ts'
import { LocalFleet } from './local.ts'
import { killAll, markedBy } from './members.ts'
import { bridgeUrlOf, localRemote, planPrograms, remoteOf, STAGE } from './plan.ts'
import type { Reporter } from './reporter.ts'

export interface RaiseParts {
  readonly fleet: Fleet
  readonly state: string
  readonly lifetimeMs: number
  readonly gitTimeoutMs: number
  readonly shell: Shell
  readonly reporter: Reporter
  /** Aborts when the fleet shall end; we abort it ourselves when it cannot be. */
  readonly ending: AbortController
  /** Aborts when it shall not be waited for that programs finish what they have in hand. */
  readonly hurry: AbortSignal
}

/** A local fleet that is up. Disposing ends it. */
export interface Raised extends AsyncDisposable {
  /** Stays until the fleet shall end; deals these tasks meanwhile, if there are any. Throws why it could not stay. */
  run(tasks: readonly DemoTask[] | null): Promise<void>
}

const READY_MS = 60_000
const LOOK_MS = 50
const RETRY = { firstMs: 1_000, mostMs: 30_000 }
/** How long one waits between two deals, and looks at the orchestrator's mail. */
const DEAL_MS = 700
const MAIL_MS = 500

/** Brings up the bridge, opens what conversations are missing, and starts everybody else. */
export async function raiseFleet(parts: RaiseParts): Promise<Raised> {
  const { state, shell, reporter, ending, lifetimeMs, gitTimeoutMs } = parts
  const { clock, chance, env } = shell
  const fleet = listeningWhere(parts.fleet, env.S2_LISTEN)
  let fault: Error | null = null
  await using stack = new AsyncDisposableStack()
  const local = new LocalFleet(fleet, {
    clock,
    chance,
    state,
    say: (event) => reporter.tell(event),
    onMisconfigured: ({ agent, program }, why) => {
      fault ??= new ConfigError([`${agent}'s ${program} refuses its settings`, ...why.split('\n')])
      ending.abort()
    },
  })
  const refuseIfOver = (): void => {
    if (fault !== null) throw fault
    if (ending.signal.aborted) throw new S2Error('unavailable', 'the fleet was told to end before it was up')
  }
  stack.use(await serveControl(local, state))
  const left = await killAll(markedBy(state), clock)
  if (left > 0) throw new S2Error('internal', `${left} processes of a former fleet in ${state} cannot be ended`)
  await checkFree(fleet.listen)
  stack.use(guardFleet(state, { clock, chance, env }))
  if (fleet.remote === null) await makeRemote(localRemote(state), fleet.branch, gitTimeoutMs, { clock, env })
  const publication = stack.use(
    await Publication.open(
      { remote: remoteOf(fleet, state), branch: fleet.branch, timeoutMs: gitTimeoutMs },
      { clock, chance, env },
    ),
  )

  const plans = planPrograms(fleet, { state, folder: shell.folder, env })
  stack.defer(async () => {
    reporter.tell({ agent: ORCHESTRATOR, program: 's2 up', event: 'ending', fields: { programs: plans.length } })
    await local.stop(parts.hurry)
    reporter.tell({ agent: ORCHESTRATOR, program: 's2 up', event: 'all programs have ended' })
  })
  local.start(plans.filter(({ stage }) => stage === STAGE.bridge))
  await untilReady(state, parts, refuseIfOver)
  const store = stack.use(await openStore(`unix:${join(state, 'run', 'admin.sock')}`, storeParts(shell)))
  const config = { state, bridgeUrl: bridgeUrlOf(fleet), lifetimeMs }
  const tend = async (): Promise<void> => {
    const pushed = await enlist(fleet, config, { store, publication, clock })
    if (pushed.length === 0) return
    const text = `credentials pushed for ${pushed.join(', ')}`
    reporter.tell({ agent: ORCHESTRATOR, program: 's2 up', event: 'enlisted', fields: { text } })
  }
  await tend()
  refuseIfOver()
  local.start(plans.filter(({ stage }) => stage !== STAGE.bridge))
  const text = `${plans.length} programs for ${fleet.workers.length + 1} agents; see them with: S2_STATE=${state} s2 status`
  reporter.tell({ agent: ORCHESTRATOR, program: 's2 up', event: 'up', fields: { text } })

  const kept = stack.move()
  return {
    run: async (tasks) => {
      const loops = [repeat('renewing credentials', tend, Math.min(lifetimeMs / 4, 600_000), parts)]
      if (tasks !== null) loops.push(...playOrchestrator(tasks, store, parts))
      if (shell.screen.isTerminal && !reporter.json) await showTable(store, local, parts)
      else await over(ending.signal)
      ending.abort()
      await Promise.all(loops.map(({ done }) => done))
      if (fault !== null) throw fault
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  }
}

/** S2_LISTEN wins over the fleet file, as with every setting. */
function listeningWhere(fleet: Fleet, listen: string | undefined): Fleet {
  if (listen === undefined) return fleet
  const address = parseAddress(listen)
  if (!('host' in address) || address.port === 0)
    throw new ConfigError([`S2_LISTEN=${JSON.stringify(listen)} must be host:port with a port of its own`])
  return { ...fleet, listen: address }
}

/** Tells a taken port before anything is started. */
async function checkFree({ host, port }: Fleet['listen']): Promise<void> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', ({ message }) =>
      reject(
        new ConfigError([
          `the bridge cannot listen on ${host}:${port} (${message}): end what listens there, or choose another address ` +
            'with bridge.listen in the fleet file or S2_LISTEN',
        ]),
      ),
    )
    server.listen({ host, port }, resolve)
  })
  await new Promise((resolve) => server.close(resolve))
}

async function untilReady(state: string, { shell, ending }: RaiseParts, refuseIfOver: () => void): Promise<void> {
  const { clock } = shell
  const began = clock.now()
  for (;;) {
    refuseIfOver()
    const health = await askHealth('bridge', { path: join(state, 'run', 'bridge.sock') })
    if (health.ready) return
    if (clock.now() - began > READY_MS) {
      throw new S2Error(
        'unavailable',
        `the bridge was not ready within a minute: it is ${health.state}, ${health.status}`,
        {
          next: `read ${join(state, 'logs', 'orchestrator-bridge.log')}`,
        },
      )
    }
    await clock.sleep(LOOK_MS, ending.signal).catch(() => undefined)
  }
}

/** Repeats a chore of `s2 up` until it ends; what fails is told and tried again. */
function repeat(
  what: string,
  chore: () => Promise<unknown>,
  everyMs: number,
  { shell, reporter, ending }: RaiseParts,
): Loop {
  let failures = 0
  let isFirst = true
  return new Loop({
    clock: shell.clock,
    signal: ending.signal,
    step: async () => {
      // What was just done at the start is not done again at once.
      if (!isFirst) await chore()
      isFirst = false
      failures = 0
      return everyMs
    },
    onError: (error) => {
      if (failures === 0) reporter.trouble(what, error)
      failures += 1
      return RETRY.firstMs + backoff(failures, RETRY, shell.chance)
    },
  })
}

/** The demo's orchestrator: it deals tasks, and reads what becomes of them. */
function playOrchestrator(tasks: readonly DemoTask[], store: Store, parts: RaiseParts): Loop[] {
  const { shell, state, reporter } = parts
  const dealer = new Dealer(tasks, { store, clock: shell.clock, chance: shell.chance })
  const inbox = new Inbox(state)
  const read = async (): Promise<void> => {
    await inbox.ack(await inbox.list('cur'))
    for (const { text } of await inbox.take(100)) {
      const letter = readLetter(text)
      if (letter?.type === 'task_moved') {
        const moved = `${letter.task} from ${letter.from ?? 'nobody'} to ${letter.to ?? 'nobody'}: ${letter.reason}`
        reporter.tell({ agent: ORCHESTRATOR, program: 'mail', event: 'moved', fields: { text: moved } })
      } else if (letter?.type === 'status_update' && (letter.status === 'completed' || letter.status === 'failed')) {
        const last = (letter.summary ?? '').trim().split('\n').at(-1) ?? ''
        const fields = { text: `${letter.task}: ${last}` }
        reporter.tell({ agent: ORCHESTRATOR, program: 'mail', event: letter.status, fields })
      }
    }
  }
  return [
    repeat('dealing a task', () => dealer.deal(), DEAL_MS, parts),
    repeat('reading the mail', read, MAIL_MS, parts),
  ]
}

async function showTable(store: Store, local: LocalFleet, { shell, reporter, ending }: RaiseParts): Promise<void> {
  const paint = painter(shell)
  let last: Overview | null = null
  reporter.keepQuiet(true)
  try {
    await show(
      shell,
      async (columns, rows) => {
        let trouble = ''
        try {
          last = await readOverview(store, shell.clock.wall(), local.members())
        } catch (error) {
          trouble = failureOf(error).message
        }
        const table = last === null ? [] : renderOverview(last, columns, paint)
        const foot = trouble === '' ? paint('dim', 'Ctrl-C ends the fleet') : paint('red', `${trouble}; asking again`)
        const room = Math.max(0, rows - table.length - 4)
        const news = reporter.last(room).map((line) => paint('dim', line.slice(0, columns)))
        return [...table, '', ...news, ...Array<string>(room - news.length).fill(''), '', foot]
      },
      1_000,
      ending.signal,
    )
  } finally {
    reporter.keepQuiet(false)
  }
}

async function over(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
}
