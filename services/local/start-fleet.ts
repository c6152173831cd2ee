import { createServer } from 'node:net'
import { join } from 'node:path'
import type { CommandContext } from '#console/context.ts'
import { quoted } from '#console/shell-quote.ts'
import { storeParts } from '#console/store-access.ts'
import { S2Error } from '#fleet/errors.ts'
import { ORCHESTRATOR } from '#fleet/session-id.ts'
import { makeRemote } from '#git/git-publisher.ts'
import { askHealth, healthSocket } from '#runtime/health-client.ts'
import { ConfigError } from '#runtime/read-settings.ts'
import { parseAddress } from '#runtime/setting-parsers.ts'
import { WOKEN_PLACE } from '#runtime/wake-settings.ts'
import { readCredentials } from '#spool/credentials.ts'
import { openStore } from '#store/open-store.ts'
import type { Store } from '#store/store.ts'
import { admitWorkers } from './admit-workers.ts'
import { serveControl } from './control-server.ts'
import type { DemoTask } from './demo-tasks.ts'
import type { EventReporter } from './event-reporter.ts'
import { FleetProcesses } from './fleet-processes.ts'
import type { AgentSpec, Fleet } from './parse-fleet-description.ts'
import { isWoken, localRemote, type ProgramPlan, planPrograms, STAGE, stateOf } from './process-plan.ts'
import { killAll, markedBy } from './process-tree.ts'
import { startReaper } from './reaper-process.ts'
import { runFleet } from './while-fleet-runs.ts'

export interface StartFleetParts {
  readonly fleet: Fleet
  readonly state: string
  readonly lifetimeMs: number
  readonly gitTimeoutMs: number
  readonly context: CommandContext
  readonly reporter: EventReporter
  /** Aborts when the fleet has to end; aborted here when it cannot run. */
  readonly ending: AbortController
  /** Aborts when programs are to be killed without waiting for their work. */
  readonly hurry: AbortSignal
}

/** A local fleet that runs. Disposing ends it. */
export interface StartedFleet extends AsyncDisposable {
  /** Runs until the fleet has to end, with these tasks as its demo; null: no demo. Throws why it could not run on. */
  run(tasks: readonly DemoTask[] | null): Promise<void>
}

const READY_MS = 60_000
const CREDENTIALS_MS = 5_000
const LOOK_MS = 50

/** Starts the bridge, opens missing conversations, and starts all other programs. Throws ConfigError and S2Error. */
export async function startFleet(asked: StartFleetParts): Promise<StartedFleet> {
  const parts = { ...asked, fleet: withListenAddress(asked.fleet, asked.context.env.S2_LISTEN) }
  const { fleet, state, context } = parts
  const { clock, chance, env } = context
  await using stack = new AsyncDisposableStack()
  const failure = new StartFailure(parts.ending)
  const runner = createRunner(parts, failure)
  stack.use(await serveControl(runner, state))
  await endLeftovers(parts)
  stack.use(startReaper(state, { clock, chance, env }))
  if (fleet.remote === null) await makeRemote(localRemote(state), fleet.branch, parts.gitTimeoutMs, context)
  const plans = planPrograms(fleet, { state, folder: context.folder, env })
  stack.defer(() => stopPrograms(runner, plans, parts))
  runner.start(plans.filter(({ stage }) => stage === STAGE.bridge))
  await waitForBridge(parts, failure)
  const store = stack.use(await openStore(`unix:${join(state, 'run', 'admin.sock')}`, storeParts(context)))
  await admit(store, parts)
  failure.refuseIfOver()
  runner.start(plans.filter(({ stage }) => stage === STAGE.issuer))
  await waitUntilIssued(store, parts)
  runner.start(plans.filter(({ stage }) => stage === STAGE.orchestrator || stage === STAGE.credentials))
  await waitForCredentials(parts)
  runner.start(plans.filter(({ stage }) => stage > STAGE.credentials))
  tellUp(parts, plans.length)
  const kept = stack.move()
  return {
    run: async (tasks) => {
      await runFleet({ ...parts, store, runner }, tasks)
      failure.refuseIfFailed()
    },
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  }
}

/** Says how the fleet is seen, and which of its workers a person brings an agent to. */
function tellUp({ fleet, state, context: { env }, reporter }: StartFleetParts, programs: number): void {
  const where = env.S2_STORE === undefined ? '' : ` in ${env.S2_STORE}`
  const see = `S2_STATE=${quoted(state)} s2 status`
  const text = `${programs} programs for ${fleet.workers.length + 1} agents${where}; see them with: ${see}`
  reporter.tell({ agent: ORCHESTRATOR, program: 's2 up', event: 'up', fields: { text } })
  for (const worker of fleet.workers.filter(({ exec, client }) => exec === null && client === null)) {
    const { agent, number } = worker
    const start = `S2_STATE=${quoted(stateOf(agent, state))} is for an agent that you start`
    const wake = isWoken(worker, fleet)
      ? ''
      : `; nothing wakes it: say ${WOKEN_PLACE} of worker ${number} in the fleet file`
    reporter.tell({ agent, program: 's2 up', event: 'a place:', fields: { text: `${start}${wake}` } })
  }
}

/** Why the fleet cannot run: the first reason is kept, and stops the fleet. */
class StartFailure {
  readonly #ending: AbortController
  #fault: Error | null = null

  constructor(ending: AbortController) {
    this.#ending = ending
  }

  fail(fault: Error): void {
    this.#fault ??= fault
    this.#ending.abort()
  }

  refuseIfFailed(): void {
    if (this.#fault !== null) throw this.#fault
  }

  refuseIfOver(): void {
    this.refuseIfFailed()
    if (this.#ending.signal.aborted)
      throw new S2Error('unavailable', 'the fleet was told to stop before it was up', { next: 'start it again' })
  }
}

function createRunner({ fleet, state, context, reporter }: StartFleetParts, failure: StartFailure): FleetProcesses {
  return new FleetProcesses(fleet, {
    clock: context.clock,
    chance: context.chance,
    state,
    say: (event) => reporter.tell(event),
    onMisconfigured: ({ agent, program }, why) =>
      failure.fail(new ConfigError([`${agent}'s ${program} refuses its settings`, ...why.split('\n')])),
  })
}

/** Ends processes that a former fleet left, and reports a taken port before any program starts. */
async function endLeftovers({ state, fleet, context }: StartFleetParts): Promise<void> {
  const left = await killAll(markedBy(state), context.clock)
  if (left > 0) throw new S2Error('internal', `${left} processes of a former fleet in ${state} cannot be ended`)
  await checkAddressFree(fleet.listen)
}

async function stopPrograms(
  runner: FleetProcesses,
  plans: readonly ProgramPlan[],
  { reporter, hurry }: StartFleetParts,
): Promise<void> {
  reporter.tell({ agent: ORCHESTRATOR, program: 's2 up', event: 'ending', fields: { programs: plans.length } })
  await runner.stop(hurry)
  reporter.tell({ agent: ORCHESTRATOR, program: 's2 up', event: 'all programs have ended' })
}

async function admit(store: Store, { fleet, state, lifetimeMs, reporter }: StartFleetParts): Promise<void> {
  const revoked = await admitWorkers({ fleet, state, lifetimeMs, store })
  if (revoked.length === 0) return
  const text = `${revoked.join(', ')} stay out, as they were revoked: take them out of the fleet file, or give them other numbers`
  reporter.tell({ agent: ORCHESTRATOR, program: 's2 up', event: 'revoked', fields: { text } })
}

/** S2_LISTEN wins over the fleet file, as with every setting. */
function withListenAddress(fleet: Fleet, listen: string | undefined): Fleet {
  if (listen === undefined) return fleet
  const address = parseAddress(listen)
  if (!('host' in address) || address.port === 0)
    throw new ConfigError([`S2_LISTEN=${JSON.stringify(listen)} must be host:port with a port of its own`])
  return { ...fleet, listen: address }
}

async function checkAddressFree({ host, port }: Fleet['listen']): Promise<void> {
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

/** Gives the orchestrator's cred-sync up to 5 s to make the first credentials: workers find them at their first look. */
async function waitUntilIssued(store: Store, { context: { clock }, ending }: StartFleetParts): Promise<void> {
  const began = clock.now()
  while (clock.now() - began < CREDENTIALS_MS && !ending.signal.aborted) {
    if ((await store.workers()).every(({ serial, published }) => serial === published)) return
    await clock.sleep(LOOK_MS, ending.signal).catch(() => undefined)
  }
}

/**
 * Gives cred-sync up to 5 s to fetch the first credentials, so that programs do not start by missing them. A worker whose
 * credential comes later starts without it and gets it then.
 */
async function waitForCredentials({ fleet, state, context, ending }: StartFleetParts): Promise<void> {
  const { clock } = context
  const began = clock.now()
  const hasOne = async ({ agent }: AgentSpec): Promise<boolean> =>
    (await readCredentials(stateOf(agent, state), clock.wall())).credentials.length > 0
  while (clock.now() - began < CREDENTIALS_MS && !ending.signal.aborted) {
    if ((await Promise.all(fleet.workers.map(hasOne))).every((has) => has)) return
    await clock.sleep(LOOK_MS, ending.signal).catch(() => undefined)
  }
}

async function waitForBridge({ state, context, ending }: StartFleetParts, failure: StartFailure): Promise<void> {
  const { clock } = context
  const began = clock.now()
  for (;;) {
    failure.refuseIfOver()
    const health = await askHealth('bridge', { path: healthSocket(state, 'bridge') }, clock)
    if (health.ready) return
    if (clock.now() - began > READY_MS) {
      const why = `the bridge was not ready within a minute: it is ${health.state}, ${health.status}`
      throw new S2Error('unavailable', why, { next: `read ${join(state, 'logs', 'orchestrator-bridge.log')}` })
    }
    await clock.sleep(LOOK_MS, ending.signal).catch(() => undefined)
  }
}
