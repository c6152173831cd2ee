import type { Move } from '#fleet/task.ts'
import { recordingLog, type Said } from '#runtime/log.ts'
import type { Store } from '#store/store.ts'
import type { WatchConfig } from '../../services/watchdog/config.ts'
import { watch } from '../../services/watchdog/watchdog.ts'
import { type Bug, withoutGrace, withoutTheUnnamed } from './bugs.ts'
import { Life, type Machine } from './clock.ts'
import type { Engine } from './engine.ts'
import type { History } from './history.ts'
import { openNear, put, type Surroundings, storeOf } from './network.ts'
import { Observer } from './observer.ts'
import type { Witness } from './witness.ts'

export interface WatchmanParts {
  readonly around: Surroundings
  readonly history: History
  readonly witness: Witness
  readonly bug: Bug | null
  readonly engine: Engine
  /** Called for every alert that was sent. */
  onAlert(event: 'opened' | 'closed', incident: number): void
  /** Called for every task that is taken from an agent because it is silent. */
  onTaken(agent: string, by: string): void
}

/** A watchdog, through all its lives. */
export class Watchman {
  readonly name: string
  readonly machine: Machine
  readonly #config: WatchConfig
  readonly #parts: WatchmanParts
  #life: Life | null = null
  #lives = 0
  /** Alerts that this life has sent: it never repeats one. */
  #sentAlerts = new Set<string>()

  constructor(name: string, machine: Machine, config: WatchConfig, parts: WatchmanParts) {
    this.name = name
    this.machine = machine
    this.#config = config
    this.#parts = parts
  }

  get life(): Life | null {
    return this.#life
  }

  kill(): void {
    this.#life?.kill()
    this.#life = null
  }

  start(): void {
    if (this.#life !== null) return
    this.#lives += 1
    const { around, history, bug } = this.#parts
    const { silentAfterMs } = this.#config
    const life = new Life(`${this.name}.${this.#lives}`, this.machine)
    this.#life = life
    this.#sentAlerts = new Set()
    history.note(`${life.name} begins`)
    const observer = new Observer(this.#config, life)
    void watch(this.#config, {
      store: this.#storeFor(life, observer),
      clock: bug === 'no grace' ? withoutGrace(life.clock, silentAfterMs) : life.clock,
      log: recordingLog((said) => this.#onLogged(said, life, observer)),
      chance: around.dice.next,
      signal: life.unending,
      sources: [this.#parts.engine.seenBy(life)],
    })
  }

  #onLogged({ event, fields }: Said, life: Life, observer: Observer): void {
    if (/^incident (opened|lasts|closed)$/.test(event)) this.#onAlert(life, event, fields)
    if (event !== 'verdict passed') return
    const agent = String(fields.agent)
    if (fields.to === 'gone') this.#onGone(life, agent)
    if (fields.to !== 'silent') return
    this.#parts.history.did('agent convicted', `${agent} by ${life.name}`)
    this.#accuse(life, `convicted ${agent}`, observer.objection(agent))
  }

  /** No agent that lives is declared gone. */
  #onGone(life: Life, agent: string): void {
    const { history, engine } = this.#parts
    history.did('agent gone', `${agent} by ${life.name}`)
    const objection = engine.objection(agent)
    if (objection !== null) history.violate('unknown is not dead', `${life.name} called ${agent} gone, ${objection}`)
  }

  #storeFor(life: Life, observer: Observer): Store {
    const { witness, around, bug, onTaken } = this.#parts
    const seen = witness.seenBy({
      name: life.name,
      onPulses: (heard, tick) => observer.onRead(heard, tick),
      onMove: (before, { reason }) => {
        if (reason === 'silent') onTaken(witness.agentOf(before.holder), life.name)
      },
    })
    const near = openNear(seen, life, around)
    return storeOf(async (verb, args) => {
      if (bug === 'incidents end with conversations' && verb === 'workers') return await withoutTheUnnamed(near)
      if (verb === 'pulses') observer.onAsk()
      const objection = verb === 'move' ? this.#objection(args[0] as Move, observer) : null
      const answer = await put(near, verb, args)
      if (verb === 'pulses') observer.onAnswer()
      if (answer === true) this.#accuse(life, `moved ${(args[0] as Move).task}`, objection)
      return answer
    }, near)
  }

  /** What is wrong with taking this work away, as it is asked for: what comes later nobody could know. */
  #objection({ task, reason }: Move, observer: Observer): string | null {
    return reason === 'silent' ? observer.objection(this.#parts.witness.ownerOf(task)) : null
  }

  #accuse(life: Life, act: string, objection: string | null): void {
    if (objection !== null) this.#parts.history.violate('silence', `${life.name} ${act}, ${objection}`)
  }

  #onAlert(life: Life, event: string, fields: Readonly<Record<string, unknown>>): void {
    const { history } = this.#parts
    if (fields.incident === 0) return // the store’s own absence, which no store keeps
    const time = event === 'incident lasts' ? ` time ${fields.retold}` : ''
    const alert = `${event}${time} ${fields.incident} (${fields.cause})`
    if (this.#sentAlerts.has(alert)) history.violate('no alert repeats', `${life.name} told “${alert}” twice`)
    this.#sentAlerts.add(alert)
    history.did('alert told', `${alert} by ${life.name}`)
    if (event === 'incident lasts') return
    this.#parts.onAlert(event === 'incident opened' ? 'opened' : 'closed', Number(fields.incident))
  }
}
