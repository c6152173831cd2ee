import type { AgentProcess } from '#fleet/agent-processes.ts'
import { S2Error } from '#fleet/errors.ts'
import { redactedTail } from '#fleet/redact.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Env } from '#runtime/read-settings.ts'
import { type Ending, hasSucceeded, howItEnded, runCommand } from '#runtime/run-command.ts'
import type { AgentUnits } from '#runtime/setting-parsers.ts'
import type { ProcessSource } from './read-source.ts'

/** Units that agents run in, and whose they are. */
export interface UnitsConfig {
  readonly manager: 'system' | 'user'
  readonly units: readonly AgentUnits[]
  readonly mayStart: boolean
}

const POLL_MS = 700
const TIMEOUT_MS = 3_000
const START_MS = 30_000
const OUTPUT_MAX = 4_000_000
const PROPERTIES =
  'Id,LoadState,ActiveState,SubState,Result,ExecMainCode,ExecMainStatus,ExecMainExitTimestampMonotonic,FreezerState'

/**
 * Units of systemd, by asking for their state: `systemctl show` wants no rights, and answers for a hundred units in a few
 * milliseconds. A unit that never ran says nothing; one that ran and is forgotten by its manager has ended.
 */
export class SystemdSource implements ProcessSource {
  readonly name = 'systemd'
  readonly everyMs = POLL_MS
  readonly #config: UnitsConfig
  readonly #clock: Clock
  readonly #env: Env
  /** Units that were seen to run, for when their manager forgets them. */
  readonly #ran = new Map<string, AgentProcess>()

  constructor(config: UnitsConfig, env: Env, clock: Clock) {
    this.#config = config
    this.#env = env
    this.#clock = clock
  }

  async read(signal: AbortSignal): Promise<readonly AgentProcess[]> {
    const patterns = this.#config.units.map((each) => ('unit' in each ? each.unit : `${each.template}*.service`))
    const args = ['show', '--no-pager', `--property=${PROPERTIES}`, '--', ...patterns]
    const ending = await this.#run(args, TIMEOUT_MS, signal)
    if (!hasSucceeded(ending))
      throw new Error(`systemctl show failed: ${howItEnded(ending)}`, { cause: redactedTail(ending.stderr, 500) })
    const processes = ending.stdout
      .toString('utf8')
      .split(/\n\n+/)
      .flatMap((block) => this.#processOf(block) ?? [])
    const named = new Set(processes.map(({ id }) => id))
    for (const agentProcess of processes)
      if (agentProcess.state !== 'ended') this.#ran.set(agentProcess.id, agentProcess)
    const forgotten = [...this.#ran.values()].filter(({ id }) => !named.has(id))
    return [
      ...processes,
      ...forgotten.map((agentProcess): AgentProcess => ({ ...agentProcess, state: 'ended', why: 'inactive' })),
    ]
  }

  async start(id: string, signal: AbortSignal): Promise<void> {
    const ending = await this.#run(['start', '--no-ask-password', '--', id], START_MS, signal)
    if (!hasSucceeded(ending)) throw notStarted(id, this.#config.manager, ending)
  }

  async #run(args: readonly string[], timeoutMs: number, signal: AbortSignal): Promise<Ending> {
    const manager = this.#config.manager === 'user' ? ['--user'] : []
    return await runCommand(
      { argv: ['systemctl', ...manager, ...args], env: this.#env, timeoutMs, outputMax: OUTPUT_MAX, beyond: 'end' },
      this.#clock,
      signal,
    )
  }

  #processOf(block: string): AgentProcess | null {
    const fields = new Map(
      block.split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    )
    const id = fields.get('Id')
    const agent = id === undefined ? undefined : this.#agentOf(id)
    if (id === undefined || agent === undefined || fields.get('LoadState') === 'not-found') return null
    const process = { id, agent, name: `unit ${id}`, mayStart: false }
    switch (fields.get('ActiveState')) {
      case 'active':
      case 'reloading':
      case 'deactivating':
        if (fields.get('FreezerState')?.startsWith('fr')) return { ...process, state: 'hindered', why: 'is frozen' }
        return { ...process, state: 'living', why: '' }
      case 'activating': // its manager starts it again, or for the first time
        if (fields.get('SubState') === 'auto-restart') return { ...process, state: 'ended', why: whyEnded(fields) }
        return { ...process, state: 'living', why: '' }
      case 'inactive':
      case 'failed':
        if (!hasRun(fields) && !this.#ran.has(id)) return null
        return { ...process, state: 'ended', why: whyEnded(fields), mayStart: this.#config.mayStart }
      default:
        return { ...process, state: 'unknown', why: fields.get('ActiveState') ?? '' }
    }
  }

  #agentOf(id: string): string | undefined {
    for (const each of this.#config.units) {
      if ('unit' in each) {
        if (each.unit === id) return each.agent
      } else if (id.startsWith(each.template) && id.endsWith('.service')) {
        return unescapeUnit(id.slice(each.template.length, -'.service'.length))
      }
    }
    return undefined
  }
}

/** Why a unit was not started, in the words of its manager, and what to do: polkit lets no service start one unless a rule says so. */
function notStarted(id: string, manager: UnitsConfig['manager'], ending: Ending): S2Error {
  const said =
    ending.stderr
      .trim()
      .split('\n')[0]
      ?.replace(/^Failed to start [^:]*: /, '') ?? ''
  const why = ending.ended !== null || said === '' ? howItEnded(ending) : said
  const start = `systemctl ${manager === 'user' ? '--user ' : ''}start ${id}`
  if (/authentication required|access denied|permission denied|not permitted/i.test(said)) {
    const next = `a polkit rule lets the user of the watchdog do that (docs/operate.md, “Agents that die”); by hand: ${start}`
    return new S2Error('forbidden', `systemd refused it: ${why}`, { next })
  }
  return new S2Error('unavailable', `systemd could not start it: ${why}`, {
    next: `${start}, and systemctl status says why`,
  })
}

function hasRun(fields: ReadonlyMap<string, string>): boolean {
  return Number(fields.get('ExecMainExitTimestampMonotonic') ?? 0) > 0
}

/** By the codes of waitid(2): 1 exited, 2 killed, 3 dumped core. */
function whyEnded(fields: ReadonlyMap<string, string>): string {
  const how = fields.get('ExecMainCode') === '1' ? 'exit code' : 'signal'
  const why = hasRun(fields) ? `${how} ${fields.get('ExecMainStatus')}` : 'inactive'
  return fields.get('Result') === 'oom-kill' ? `${why}, out of memory` : why
}

/** As systemd-escape(1) writes them: `-` stands for `/`, which agents’ names hardly have, so it is left as it is. */
function unescapeUnit(text: string): string {
  return text.replace(/\\x([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}
