import type { Body } from '#fleet/bodies.ts'
import type { Clock } from '#runtime/clock.ts'
import { hasSucceeded, howItEnded, runCommand } from '#runtime/command.ts'
import type { Env } from '#runtime/config.ts'
import type { AgentUnits } from '#runtime/settings.ts'
import type { Source } from '../evidence.ts'

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
export class SystemdSource implements Source {
  readonly name = 'systemd'
  readonly everyMs = POLL_MS
  readonly #config: UnitsConfig
  readonly #clock: Clock
  readonly #env: Env
  /** Units that were seen to run, for when their manager forgets them. */
  readonly #ran = new Map<string, Body>()

  constructor(config: UnitsConfig, env: Env, clock: Clock) {
    this.#config = config
    this.#env = env
    this.#clock = clock
  }

  async read(signal: AbortSignal): Promise<readonly Body[]> {
    const patterns = this.#config.units.map((each) => ('unit' in each ? each.unit : `${each.template}*.service`))
    const text = await this.#systemctl(
      ['show', '--no-pager', `--property=${PROPERTIES}`, '--', ...patterns],
      TIMEOUT_MS,
      signal,
    )
    const bodies = text.split(/\n\n+/).flatMap((block) => this.#bodyOf(block) ?? [])
    const named = new Set(bodies.map(({ id }) => id))
    for (const body of bodies) if (body.state !== 'ended') this.#ran.set(body.id, body)
    const forgotten = [...this.#ran.values()].filter(({ id }) => !named.has(id))
    return [...bodies, ...forgotten.map((body): Body => ({ ...body, state: 'ended', why: 'inactive' }))]
  }

  async start(id: string, signal: AbortSignal): Promise<void> {
    await this.#systemctl(['start', '--no-ask-password', '--', id], START_MS, signal)
  }

  async #systemctl(args: readonly string[], timeoutMs: number, signal: AbortSignal): Promise<string> {
    const manager = this.#config.manager === 'user' ? ['--user'] : []
    const ending = await runCommand(
      { argv: ['systemctl', ...manager, ...args], env: this.#env, timeoutMs, outputMax: OUTPUT_MAX, beyond: 'end' },
      this.#clock,
      signal,
    )
    if (hasSucceeded(ending)) return ending.stdout.toString('utf8')
    throw new Error(`systemctl ${args[0]} failed: ${howItEnded(ending)}`, { cause: ending.stderr.slice(-500) })
  }

  #bodyOf(block: string): Body | null {
    const fields = new Map(
      block.split('\n').map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    )
    const id = fields.get('Id')
    const agent = id === undefined ? undefined : this.#agentOf(id)
    if (id === undefined || agent === undefined || fields.get('LoadState') === 'not-found') return null
    const body = { id, agent, name: `unit ${id}`, mayStart: false }
    switch (fields.get('ActiveState')) {
      case 'active':
      case 'reloading':
      case 'deactivating':
        if (fields.get('FreezerState')?.startsWith('fr')) return { ...body, state: 'hindered', why: 'is frozen' }
        return { ...body, state: 'living', why: '' }
      case 'activating': // its manager starts it again, or for the first time
        if (fields.get('SubState') === 'auto-restart') return { ...body, state: 'ended', why: whyEnded(fields) }
        return { ...body, state: 'living', why: '' }
      case 'inactive':
      case 'failed':
        if (!hasRun(fields) && !this.#ran.has(id)) return null
        return { ...body, state: 'ended', why: whyEnded(fields), mayStart: this.#config.mayStart }
      default:
        return { ...body, state: 'unknown', why: fields.get('ActiveState') ?? '' }
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
