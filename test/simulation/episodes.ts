import type { Dice } from './chance.ts'
import type { Machine } from './clock.ts'
import type { Engine } from './engine.ts'
import type { Fault } from './faults.ts'
import type { SimulatedHost } from './host.ts'
import type { IssuerProgram } from './issuing.ts'
import type { Lapses, Touched } from './lapses.ts'
import type { Bridge, Surroundings } from './network.ts'
import { DAY, HOUR, type Pace, type Settings } from './settings.ts'
import type { Watchman } from './watchman.ts'

/** Something that is broken for a while. */
export interface Episode {
  readonly kind: EpisodeKind
  readonly atMs: number
  /** Infinity: until everything is mended. */
  readonly lastsMs: number
}

/** How likely an episode is, beside the others, and how long it lasts. */
interface Odds {
  readonly weight: number
  readonly leastMs: number
  readonly mostMs: number
  /** It begins when a night does. */
  readonly atNight?: true
}

/** To add one: name its fault in `faults.ts`, and say here how often it comes in worlds of each pace, and what it breaks. */
export interface EpisodeKind {
  readonly fault: Fault
  readonly odds: Readonly<Partial<Record<Pace, Odds>>>
  /** Breaks it; answers how to mend it, or null where there was nothing left to break. */
  begin(scene: Scene, fired: () => void): Mend | null
}

/** Mends what an episode broke. */
export interface Mend {
  (): void
  /** Whether anything came of it yet, where that is not sure from the start. */
  readonly isFelt?: () => boolean
  /** The agents that it keeps from their work; left out: none. */
  readonly touches?: Touched
}

/** What episodes break: the world, as far as they reach into it. */
export interface Scene {
  readonly around: Surroundings
  readonly settings: Settings
  readonly lapses: Lapses
  readonly server: Machine
  readonly hosts: readonly SimulatedHost[]
  readonly watchmen: readonly Watchman[]
  readonly bridge: Bridge
  readonly issuer: IssuerProgram
  readonly orchestrator: SimulatedHost
  readonly engine: Engine
  isBusy(host: SimulatedHost): boolean
  occupy(host: SimulatedHost): () => void
  stepClock(machine: Machine, ms: number): void
  startBridge(): void
  startIssuer(): void
  cutMany(): Mend | null
}

const FOR_EVER = Number.POSITIVE_INFINITY
/** So many hosts stay to do the work of those that are gone. */
const HOSTS_LEAST = 3

export const EPISODES: readonly EpisodeKind[] = [
  {
    fault: 'partition',
    odds: { minutes: lasting(3, 5_000, 150_000), days: lasting(2, HOUR / 6, 10 * HOUR) },
    begin: (scene) => cut(scene, 'partition'),
  },
  {
    fault: 'partition outward',
    odds: { minutes: lasting(2, 5_000, 150_000), days: lasting(1, HOUR / 6, 10 * HOUR) },
    begin: (scene) => cut(scene, 'partition outward'),
  },
  {
    fault: 'partition inward',
    odds: { minutes: lasting(2, 5_000, 150_000), days: lasting(1, HOUR / 6, 10 * HOUR) },
    begin: (scene) => cut(scene, 'partition inward'),
  },
  {
    fault: 'mass partition',
    odds: { minutes: lasting(2, 70_000, 150_000), days: lasting(1, 1.2 * HOUR, 6 * HOUR) },
    begin: (scene) => scene.cutMany(),
  },
  {
    fault: 'bridge killed',
    odds: { minutes: lasting(2, 500, 100_000), days: lasting(1, 10_000, 2 * HOUR) },
    begin: killBridge,
  },
  {
    fault: 'bridge away for half a day',
    odds: { days: lasting(2, 8 * HOUR, 14 * HOUR) },
    begin: killBridge,
  },
  {
    fault: 'bridge stopped',
    odds: { minutes: lasting(1, 1_000, 80_000), days: lasting(1, HOUR / 6, 5 * HOUR) },
    begin: ({ bridge }, fired) => {
      if (bridge.isAway) return null
      fired()
      const { life } = bridge
      life.stop()
      return Object.assign(() => life.goOn(), { touches: 'all' as const })
    },
  },
  {
    fault: 'host killed',
    odds: { minutes: lasting(2, 2_000, 150_000), days: lasting(2, 60_000, 10 * HOUR) },
    begin: (scene, fired) =>
      on(scene, anyHost(scene), (host) => {
        fired()
        host.kill()
        return () => host.start()
      }),
  },
  {
    fault: 'host stopped',
    odds: { minutes: lasting(2, 5_000, 150_000), days: lasting(1, HOUR / 6, 10 * HOUR) },
    begin: (scene, fired) =>
      on(scene, anyHost(scene), ({ keepalive, worker }) => {
        fired()
        keepalive?.stop()
        worker?.stop()
        return () => {
          keepalive?.goOn()
          worker?.goOn()
        }
      }),
  },
  {
    fault: 'host suspended',
    odds: { minutes: lasting(2, 5_000, 150_000), days: lasting(2, HOUR / 6, 5 * HOUR) },
    begin: (scene, fired) => on(scene, ownMachine(scene), (host) => sleep(host, fired)),
  },
  {
    fault: 'host gone for good',
    odds: { minutes: lasting(1, 0, 0), days: lasting(1, 0, 0) },
    begin: (scene, fired) => {
      const gone = worker(scene)
      if (gone === null || scene.hosts.filter(({ isGone }) => !isGone).length <= HOSTS_LEAST + 1) return null
      fired()
      gone.isGone = true
      gone.kill()
      scene.lapses.begin('host gone for good', [gone.agent])
      return () => undefined
    },
  },
  {
    fault: 'agent killed',
    odds: { minutes: lasting(3, 500, 350_000), days: lasting(2, 60_000, 8 * HOUR) },
    begin: (scene, fired) =>
      on(scene, anyHost(scene), (host) => {
        fired()
        host.killWorker()
        return () => host.startWorker()
      }),
  },
  {
    fault: 'agent stopped',
    odds: { minutes: lasting(3, 5_000, 180_000), days: lasting(2, HOUR / 6, 10 * HOUR) },
    begin: (scene, fired) =>
      on(scene, worker(scene), ({ worker }) => {
        fired()
        worker?.stop()
        return () => worker?.goOn()
      }),
  },
  {
    fault: 'place sick',
    odds: { minutes: lasting(2, 20_000, 250_000), days: lasting(2, HOUR / 6, 10 * HOUR) },
    begin: (scene, fired) => sicken(scene, fired, 'sick'),
  },
  {
    fault: 'place parked',
    odds: { minutes: lasting(2, 20_000, 250_000), days: lasting(2, HOUR / 6, 5 * HOUR) },
    begin: (scene, fired) => sicken(scene, fired, 'parked'),
  },
  {
    fault: 'keepalive killed',
    odds: { minutes: lasting(2, 500, 150_000), days: lasting(1, 60_000, 8 * HOUR) },
    begin: (scene, fired) =>
      on(scene, anyHost(scene), (host) => {
        fired()
        host.killKeepalive()
        return () => host.startKeepalive()
      }),
  },
  {
    fault: 'keepalive stopped',
    odds: { minutes: lasting(2, 5_000, 150_000), days: lasting(1, HOUR / 6, 8 * HOUR) },
    begin: (scene, fired) =>
      on(scene, anyHost(scene), ({ keepalive }) => {
        fired()
        keepalive?.stop()
        return () => keepalive?.goOn()
      }),
  },
  {
    fault: 'cred-sync away',
    odds: { days: lasting(2, HOUR, 10 * HOUR) },
    begin: (scene, fired) =>
      on(scene, worker(scene), (host) => {
        fired()
        host.killCredSync()
        return () => host.startCredSync()
      }),
  },
  {
    fault: 'watchdog killed',
    odds: { minutes: lasting(2, 500, 100_000), days: lasting(2, 60_000, 10 * HOUR) },
    begin: ({ around, watchmen }, fired) => {
      const watchman = around.dice.pick(watchmen)
      if (watchman.life === null || watchman.life.isStopped || watchman.machine.isSuspended) return null
      fired()
      watchman.kill()
      return () => watchman.start()
    },
  },
  {
    fault: 'watchdog stopped',
    odds: { minutes: lasting(2, 5_000, 150_000), days: lasting(1, HOUR / 6, 10 * HOUR) },
    begin: ({ around, watchmen }, fired) => {
      const { life } = around.dice.pick(watchmen)
      if (life === null || life.isStopped) return null
      fired()
      life.stop()
      return () => life.goOn()
    },
  },
  {
    fault: 'watchdog suspended',
    odds: { minutes: lasting(1, 5_000, 150_000) },
    begin: ({ around, watchmen }, fired) => {
      const { machine, life } = around.dice.pick(watchmen)
      if (life === null || machine.isSuspended) return null
      fired()
      machine.suspend()
      return () => machine.resume()
    },
  },
  {
    fault: 'engine away',
    odds: { minutes: lasting(2, 5_000, 120_000), days: lasting(1, HOUR / 6, 8 * HOUR) },
    begin: (scene) => troubleEngine(scene, 'engine away'),
  },
  {
    fault: 'engine hangs',
    odds: { minutes: lasting(1, 5_000, 120_000), days: lasting(1, HOUR / 6, 5 * HOUR) },
    begin: (scene) => troubleEngine(scene, 'engine hangs'),
  },
  {
    fault: 'issuer away',
    odds: { days: lasting(3, 2 * HOUR, 12 * HOUR) },
    begin: (scene, fired) => {
      if (!scene.issuer.isRunning || scene.server.isSuspended) return null
      fired()
      scene.issuer.kill()
      return () => scene.startIssuer()
    },
  },
  {
    fault: 'token rotated',
    odds: { minutes: lasting(2, 0, 0), days: lasting(2, 0, 0) },
    begin: ({ issuer }, fired) => {
      if (!issuer.isRunning) return null
      fired()
      issuer.rotateAll()
      return () => undefined
    },
  },
  {
    fault: 'wall clock stepped',
    odds: { minutes: lasting(2, FOR_EVER, FOR_EVER), days: lasting(2, HOUR, 10 * HOUR) },
    begin: (scene, fired) => {
      const { dice } = scene.around
      const hours = scene.settings.pace === 'minutes' ? 1 : dice.whole(1, 9)
      const machine = dice.pick(machinesOf(scene))
      const ms = dice.chance(0.5) ? hours * HOUR : -hours * HOUR
      fired()
      scene.stepClock(machine, ms)
      return () => scene.stepClock(machine, -ms)
    },
  },
  {
    fault: 'wall clock flaps',
    odds: { minutes: lasting(1, 60_000, 200_000), days: lasting(2, HOUR, 6 * HOUR) },
    begin: flap,
  },
  {
    fault: 'clocks an hour on',
    odds: { days: lasting(2, FOR_EVER, FOR_EVER) },
    begin: (scene, fired) => {
      const ms = scene.around.dice.chance(0.5) ? HOUR : -HOUR
      fired()
      for (const machine of machinesOf(scene)) scene.stepClock(machine, ms)
      return () => undefined
    },
  },
  {
    fault: 'host asleep at night',
    odds: { days: { ...lasting(3, 6 * HOUR, 9 * HOUR), atNight: true } },
    begin: (scene, fired) => on(scene, ownMachine(scene), (host) => sleep(host, fired)),
  },
  {
    fault: 'fleet asleep at night',
    odds: { days: { ...lasting(3, 6 * HOUR, 9 * HOUR), atNight: true } },
    begin: (scene, fired) => allAsleep(scene, fired, false),
  },
  {
    fault: 'everything asleep at night',
    odds: { days: { ...lasting(3, 6 * HOUR, 9 * HOUR), atNight: true } },
    begin: (scene, fired) => allAsleep(scene, fired, true),
  },
  {
    fault: 'server asleep at night',
    odds: { days: { ...lasting(2, 6 * HOUR, 9 * HOUR), atNight: true } },
    begin: ({ server }, fired) => {
      if (server.isSuspended) return null
      fired()
      server.suspend()
      return Object.assign(() => server.resume(), { touches: 'all' as const })
    },
  },
  {
    fault: 'laptop asleep every night',
    odds: { days: { ...lasting(3, FOR_EVER, FOR_EVER), atNight: true } },
    begin: (scene, fired) => {
      const host = ownMachine(scene)
      if (host === null) return null
      const release = scene.occupy(host)
      const wake = sleepsNightly(scene, host, fired)
      return () => {
        release()
        wake()
      }
    },
  },
  {
    fault: 'machine off over the weekend',
    odds: { days: { ...lasting(2, DAY / 2, 2.5 * DAY), atNight: true } },
    begin: (scene, fired) =>
      on(scene, ownMachine(scene), (host) => {
        fired()
        host.isOff = true
        host.kill()
        return () => {
          host.isOff = false
          host.start()
        }
      }),
  },
]

function lasting(weight: number, leastMs: number, mostMs: number): Odds {
  return { weight, leastMs, mostMs }
}

/** What will go wrong in a world, in order of time. */
export function planEpisodes(dice: Dice, settings: Settings): Episode[] {
  const { pace, episodes, brokenMs, nightMs } = settings
  const planned = Array.from({ length: episodes }, (): Episode => {
    const [kind, { leastMs, mostMs, atNight }] = pickKind(dice, pace)
    const nights = Math.max(1, Math.ceil((brokenMs - nightMs) / DAY))
    const night = nightMs + (dice.whole(1, nights) - 1) * DAY + dice.between(0, HOUR)
    const atMs = atNight === true ? night : dice.between(0.03, 0.8) * brokenMs
    return { kind, atMs, lastsMs: leastMs === FOR_EVER ? FOR_EVER : dice.between(leastMs, mostMs) }
  })
  return planned.sort((one, other) => one.atMs - other.atMs)
}

function pickKind(dice: Dice, pace: Pace): readonly [EpisodeKind, Odds] {
  const kinds = EPISODES.flatMap((kind) => {
    const odds = kind.odds[pace]
    return odds === undefined ? [] : [[kind, odds] as const]
  })
  let left = dice.next() * kinds.reduce((sum, [, { weight }]) => sum + weight, 0)
  for (const each of kinds) {
    left -= each[1].weight
    if (left <= 0) return each
  }
  return kinds[0] as readonly [EpisodeKind, Odds]
}

// What several have in common

function killBridge(scene: Scene, fired: () => void): Mend | null {
  const { bridge } = scene
  if (bridge.isAway) return null
  fired()
  bridge.kill()
  return Object.assign(() => scene.startBridge(), { touches: 'all' as const })
}

function cut(scene: Scene, fault: Fault): Mend | null {
  if (scene.bridge.isAway) return null // nothing is under way
  return on(scene, worker(scene), ({ link }) => {
    link.cut(fault)
    return Object.assign(() => link.heal(), { isFelt: () => link.isFelt })
  })
}

/** No command can work there. Of a limit it is said when it ends, and that may be wrong. */
function sicken(scene: Scene, fired: () => void, state: 'sick' | 'parked'): Mend | null {
  const { timeline, dice } = scene.around
  const { beatMs } = scene.settings.host
  return on(scene, worker(scene), (host) => {
    fired()
    const saidAt = timeline.now + dice.between(10, 60) * beatMs
    host.fault = { state, leftMs: () => Math.max(0, saidAt - timeline.now) }
    return () => {
      host.fault = null
    }
  })
}

function sleep({ machine }: SimulatedHost, fired: () => void): Mend {
  fired()
  machine.suspend()
  return () => machine.resume()
}

/** People close their laptops within a while, and open them within a while; or a power-saving plan does it at one moment. */
function allAsleep(scene: Scene, fired: () => void, withServer: boolean): Mend | null {
  const { dice, timeline } = scene.around
  if (scene.server.isSuspended) return null
  const hosts = scene.hosts.filter((host) => !host.isGone && !scene.isBusy(host) && host !== scene.orchestrator)
  if (hosts.length < 2) return null
  const spreadMs = dice.chance(0.5) ? 0 : HOUR / 2
  const wakes = hosts.map((host) => {
    const release = scene.occupy(host)
    let isOver = false
    timeline.after(dice.next() * spreadMs, () => {
      if (!isOver) host.machine.suspend()
    })
    return () => {
      isOver = true
      release()
      host.machine.resume()
    }
  })
  if (withServer) scene.server.suspend()
  fired()
  const mend = (): void => {
    if (withServer) scene.server.resume()
    for (const wake of dice.some(wakes, wakes.length)) wake()
  }
  return Object.assign(mend, { touches: 'all' as const })
}

/** Sleeps from each evening to the next morning, and is awake by day. */
function sleepsNightly(scene: Scene, { machine, agent }: SimulatedHost, fired: () => void): () => void {
  const { dice, timeline } = scene.around
  let end = (): void => undefined
  let isOver = false
  const fallAsleep = (): void => {
    if (isOver) return
    fired()
    const ended = scene.lapses.begin('laptop asleep every night', [agent])
    machine.suspend()
    end = () => {
      machine.resume()
      ended()
    }
    timeline.after(dice.between(9, 14) * HOUR, () => end())
    timeline.after(DAY + dice.between(-1, 1) * HOUR, fallAsleep)
  }
  fallAsleep()
  return () => {
    isOver = true
    end()
  }
}

/** A clock that two programs set, each to its own time. */
function flap(scene: Scene, fired: () => void): Mend {
  const { dice, timeline } = scene.around
  const { beatMs } = scene.settings.host
  const machine = dice.chance(0.5) ? scene.server : dice.pick(machinesOf(scene))
  const everyMs = dice.chance(0.5) ? 45_000 : 9 * beatMs
  const ms = 4 * beatMs
  let [isOff, isOver] = [false, false]
  const step = (): void => {
    scene.stepClock(machine, isOff ? -ms : ms)
    isOff = !isOff
  }
  const next = (): false => {
    if (!isOver) {
      step()
      timeline.after(everyMs, next)
    }
    return false
  }
  fired()
  next()
  return () => {
    isOver = true
    if (isOff) step()
  }
}

function troubleEngine({ around, engine, watchmen }: Scene, fault: 'engine away' | 'engine hangs'): Mend | null {
  const isAsked = watchmen.some(({ machine, life }) => life !== null && !life.isStopped && !machine.isSuspended)
  if (engine.trouble !== null || !isAsked) return null
  engine.trouble = fault === 'engine away' ? 'away' : 'hangs'
  const before = around.tally.of(fault)
  const mend = (): void => {
    engine.trouble = null
  }
  return Object.assign(mend, { isFelt: () => around.tally.of(fault) > before })
}

/** Breaks a host that nothing else is wrong with, and keeps it apart from other episodes until it is mended. */
function on(scene: Scene, host: SimulatedHost | null, act: (host: SimulatedHost) => Mend): Mend | null {
  if (host === null) return null
  const mend = act(host)
  const release = scene.occupy(host)
  const mendIt = (): void => {
    release()
    if (!host.isGone) mend()
  }
  return Object.assign(mendIt, { isFelt: mend.isFelt ?? (() => true), touches: [host.agent] })
}

function anyHost(scene: Scene, fits: (host: SimulatedHost) => boolean = () => true): SimulatedHost | null {
  const whole = scene.hosts.filter((each) => !each.isGone && !scene.isBusy(each) && fits(each))
  return whole.length === 0 ? null : scene.around.dice.pick(whole)
}

function worker(scene: Scene): SimulatedHost | null {
  return anyHost(scene, (each) => each !== scene.orchestrator)
}

/** A host whose machine nobody else needs. */
function ownMachine(scene: Scene): SimulatedHost | null {
  return anyHost(scene, ({ machine }) => machine !== scene.server)
}

function machinesOf({ hosts, watchmen, server }: Scene): Machine[] {
  return [...new Set([...hosts, ...watchmen, { machine: server }].map(({ machine }) => machine))]
}
