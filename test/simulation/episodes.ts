import type { Dice } from './chance.ts'
import type { Machine } from './clock.ts'
import type { Engine } from './engine.ts'
import type { Fault } from './faults.ts'
import type { SimulatedHost } from './host.ts'
import type { Bridge, Surroundings } from './network.ts'
import type { Watchman } from './watchman.ts'

/** Something that is broken for a while. */
export interface Episode {
  readonly fault: Fault
  readonly atMs: number
  readonly lastsMs: number
}

type Kind = readonly [fault: Fault, weight: number, leastMs: number, mostMs: number]

/** How likely each is, beside the others, and how long it lasts. */
const KINDS: readonly Kind[] = [
  ['partition', 3, 5_000, 150_000],
  ['partition outward', 2, 5_000, 150_000],
  ['partition inward', 2, 5_000, 150_000],
  ['mass partition', 2, 70_000, 150_000],
  ['bridge killed', 2, 500, 100_000],
  ['bridge stopped', 1, 1_000, 80_000],
  ['host killed', 2, 2_000, 150_000],
  ['host stopped', 2, 5_000, 150_000],
  ['host suspended', 2, 5_000, 150_000],
  ['host gone for good', 1, 0, 0],
  ['agent killed', 2, 500, 150_000],
  ['agent stopped', 3, 5_000, 180_000],
  ['keepalive killed', 2, 500, 150_000],
  ['keepalive stopped', 2, 5_000, 150_000],
  ['watchdog killed', 2, 500, 100_000],
  ['watchdog stopped', 2, 5_000, 150_000],
  ['watchdog suspended', 1, 5_000, 150_000],
  ['engine away', 2, 5_000, 120_000],
  ['engine hangs', 1, 5_000, 120_000],
  ['wall clock stepped', 2, 0, 0],
  ['token rotated', 2, 5_000, 40_000],
]

/** What will go wrong in a world, in order of time. */
export function planEpisodes(dice: Dice, count: number, withinMs: number): Episode[] {
  const episodes = Array.from({ length: count }, (): Episode => {
    const [fault, , leastMs, mostMs] = pickKind(dice)
    return { fault, atMs: dice.between(0.03, 0.8) * withinMs, lastsMs: dice.between(leastMs, mostMs) }
  })
  return episodes.sort((one, other) => one.atMs - other.atMs)
}

function pickKind(dice: Dice): Kind {
  let left = dice.next() * KINDS.reduce((sum, [, weight]) => sum + weight, 0)
  for (const kind of KINDS) {
    left -= kind[1]
    if (left <= 0) return kind
  }
  return KINDS[0] as Kind
}

/** A clock that is put right, or wrong, is an hour off. */
const STEP_MS = 3_600_000
/** So many hosts stay to do the work of those that are gone. */
const HOSTS_LEAST = 3

/** What episodes break: the world, as far as they reach into it. */
export interface Scene {
  readonly around: Surroundings
  readonly server: Machine
  readonly hosts: readonly SimulatedHost[]
  readonly watchmen: readonly Watchman[]
  readonly bridge: Bridge
  readonly orchestrator: SimulatedHost
  readonly engine: Engine
  isBusy(host: SimulatedHost): boolean
  occupy(host: SimulatedHost): () => void
  stepClock(machine: Machine, ms: number): void
  startBridge(): void
  cutMany(): (() => void) | null
  rotate(host: SimulatedHost | null, afterMs: number): (() => void) | null
}

/** Mends what an episode broke; its `isFelt` says whether anything came of it yet, where that is not sure from the start. */
export interface Mend {
  (): void
  readonly isFelt?: () => boolean
}

/** Breaks it; answers how to mend it, or null where there was nothing left to break. */
export function begin(episode: Episode, world: Scene): Mend | null {
  const { dice, tally } = world.around
  const host = (fits: (host: SimulatedHost) => boolean = () => true): SimulatedHost | null => {
    const whole = world.hosts.filter((each) => !each.isGone && !world.isBusy(each) && fits(each))
    return whole.length === 0 ? null : dice.pick(whole)
  }
  const worker = (): SimulatedHost | null => host((each) => each !== world.orchestrator)
  const fired = (): void => tally.fired(episode.fault)
  const { fault } = episode
  switch (fault) {
    case 'partition':
    case 'partition outward':
    case 'partition inward':
      return on(world, worker(), ({ link }) => {
        link.cut(fault)
        return Object.assign(() => link.heal(), { isFelt: () => link.isFelt })
      })
    case 'mass partition':
      return world.cutMany()
    case 'bridge killed':
      if (world.bridge.life.isDead || world.bridge.life.isStopped) return null
      fired()
      world.bridge.kill()
      return () => world.startBridge()
    case 'bridge stopped':
      if (world.bridge.life.isDead || world.bridge.life.isStopped) return null
      fired()
      world.bridge.life.stop()
      return () => world.bridge.life.goOn()
    case 'host killed':
      return on(world, host(), (each) => {
        fired()
        each.kill()
        return () => each.start()
      })
    case 'host stopped':
      return on(world, host(), ({ keepalive, worker }) => {
        fired()
        keepalive?.stop()
        worker?.stop()
        return () => {
          keepalive?.goOn()
          worker?.goOn()
        }
      })
    case 'host suspended':
      return on(world, host(), ({ machine }) => {
        fired()
        machine.suspend()
        return () => machine.resume()
      })
    case 'host gone for good': {
      const gone = worker()
      if (gone === null || world.hosts.filter(({ isGone }) => !isGone).length <= HOSTS_LEAST + 1) return null
      fired()
      gone.isGone = true
      gone.kill()
      return () => undefined
    }
    case 'agent killed':
      return on(world, host(), (each) => {
        fired()
        each.killWorker()
        return () => each.startWorker()
      })
    case 'agent stopped':
      return on(world, worker(), ({ worker }) => {
        fired()
        worker?.stop()
        return () => worker?.goOn()
      })
    case 'keepalive killed':
      return on(world, host(), (each) => {
        fired()
        each.killKeepalive()
        return () => each.startKeepalive()
      })
    case 'keepalive stopped':
      return on(world, host(), ({ keepalive }) => {
        fired()
        keepalive?.stop()
        return () => keepalive?.goOn()
      })
    case 'watchdog killed': {
      const watchman = dice.pick(world.watchmen)
      if (watchman.life === null || watchman.life.isStopped || watchman.machine.isSuspended) return null
      fired()
      watchman.kill()
      return () => watchman.start()
    }
    case 'watchdog stopped': {
      const { life } = dice.pick(world.watchmen)
      if (life === null || life.isStopped) return null
      fired()
      life.stop()
      return () => life.goOn()
    }
    case 'watchdog suspended': {
      const { machine, life } = dice.pick(world.watchmen)
      if (life === null || machine.isSuspended) return null
      fired()
      machine.suspend()
      return () => machine.resume()
    }
    case 'engine away':
    case 'engine hangs': {
      const { engine, watchmen } = world
      const isAsked = watchmen.some(({ machine, life }) => life !== null && !life.isStopped && !machine.isSuspended)
      if (engine.trouble !== null || !isAsked) return null
      engine.trouble = fault === 'engine away' ? 'away' : 'hangs'
      const before = tally.of(fault)
      const mend = (): void => {
        engine.trouble = null
      }
      return Object.assign(mend, { isFelt: () => tally.of(fault) > before })
    }
    case 'wall clock stepped': {
      const machine = dice.pick([...world.hosts, ...world.watchmen, { machine: world.server }]).machine
      fired()
      world.stepClock(machine, dice.chance(0.5) ? STEP_MS : -STEP_MS)
      return () => undefined
    }
    case 'token rotated':
      return world.rotate(host(), episode.lastsMs)
    default:
      throw new Error(`no episode: ${fault}`)
  }
}

/** Breaks a host that nothing else is wrong with, and keeps it apart from other episodes until it is mended. */
function on(world: Scene, host: SimulatedHost | null, act: (host: SimulatedHost) => Mend): Mend | null {
  if (host === null) return null
  const mend = act(host)
  const release = world.occupy(host)
  const mendIt = (): void => {
    release()
    if (!host.isGone) mend()
  }
  return Object.assign(mendIt, { isFelt: mend.isFelt ?? (() => true) })
}
