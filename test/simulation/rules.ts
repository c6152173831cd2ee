import { KEPT_OUT, type Lapse } from './lapses.ts'
import type { Rule } from './rule.ts'
import type { RuleParts } from './rule-parts.ts'
import { HOUR, LIFETIME_MS, type Settings } from './settings.ts'
import {
  aSickPlaceIsLeftAlone,
  aTaskFailsForAReason,
  aTaskHasAClock,
  attemptsAreBounded,
  OF_ALL,
  rolesHold,
  whatIsDoneIsNotDoneAgain,
  whoWorksIsLeftAlone,
} from './work-rules.ts'

/** The rules of all worlds. To add one: write a function that makes it, and name it here. */
export const RULES: readonly ((parts: RuleParts) => Rule)[] = [
  aHealthyAgentKeepsItsWork,
  attemptsAreBounded,
  oneIncidentALapse,
  anIncidentLastsAsItsCause,
  theBridgesSilenceIsNotTheirs,
  nobodyIsKeptOut,
  aTaskFailsForAReason,
  aTaskHasAClock,
  whoWorksIsLeftAlone,
  whatIsDoneIsNotDoneAgain,
  rolesHold,
  aSickPlaceIsLeftAlone,
]

/** What follows from a lapse follows within this time: a whole silence, and a whole lease that was renewed at its last moment. */
function aftermathMs({ watch: { silentAfterMs, leaseMs } }: Settings): number {
  return silentAfterMs + leaseMs
}

/** A network that loses as many of a host's requests in one lease may cost it that lease. */
const FAILURES_LEAST = 2

/**
 * No task is taken from an agent that was up, connected and beating, but by a person, or after a lapse that has a name. What it
 * has not begun may go to somebody who is free while it is busy.
 */
function aHealthyAgentKeepsItsWork(parts: RuleParts): Rule {
  const { timeline, history, settings, lapses, witness, failures, onKnown } = parts
  return {
    onMoved: ({ id, holder, state, deadline }, { reason }, by) => {
      if (holder === null || reason === 'by_hand' || (reason === 'holder_busy' && state === 'assigned')) return
      const agent = witness.agentOf(holder)
      if (reason === 'deadline' && deadline !== null) return
      if (reason === 'holder_sick' && timeline.now - witness.sickUntil(agent) <= aftermathMs(settings)) return
      const wellMs = timeline.now - lapses.lastEnd(agent)
      if (wellMs <= aftermathMs(settings)) return
      const failuresLeast = state === 'accepted' ? 1 : FAILURES_LEAST // an answer that grants a task is asked for once a lease
      if (reason === 'lease_lapsed' && failures(agent, settings.watch.leaseMs) >= failuresLeast) return
      if (reason === 'holder_busy') return onKnown('a move that crosses a lease')
      const since = `nothing had been wrong with it for ${seconds(wellMs)}`
      history.violate('a healthy agent keeps its work', `${by} took ${id} from ${agent} (${reason}), though ${since}`)
    },
  }
}

const CLAIM = 'restart'

/** A limit that has ended is over after this long without a task. */
const PARKED_OVER_MS = 600_000

/** One cause, one incident: of each lapse people are told once, however long it lasts. */
function oneIncidentALapse({ timeline, history, settings, lapses, watchmen, witness, onKnown }: RuleParts): Rule {
  const opened = new Map<string, number[]>()
  const signs = new Map<string, string>()
  return {
    onOpened: ({ cause, kind, agent }, by) => {
      // A claim is no end of anything, and people are not told of it. What flaps sums up losses, each of which had its own.
      if (kind === CLAIM || kind === 'flapping') return
      // An agent whose command hangs may show work of its own, as by a message: that ends what was told, and it is told anew.
      const sign = kind === 'task_stalled' && agent !== null ? witness.signsOf(agent) : ''
      const times = signs.get(cause) === sign ? (opened.get(cause) ?? []) : []
      signs.set(cause, sign)
      opened.set(cause, [...times, timeline.now])
      // Where a limit has ended and no task came to show more, it is over: that it is reached again is told anew.
      if (kind === 'parked' && timeline.now - (times.at(-1) ?? 0) > PARKED_OVER_MS) return
      const behind = lapses.behind(agent, aftermathMs(settings))
      const most = behind.length
      const from = Math.min(timeline.now - aftermathMs(settings), ...behind.map((lapse) => lapse.from))
      const before = times.filter((at) => at >= from).length
      if (before < most) return
      if (OF_ALL.includes(kind) && watchmen.length > 1) return onKnown('two watchdogs that disagree')
      if (most === 0) {
        history.violate('one cause, one incident', `${by} opened ${cause}, and nothing had been wrong`)
        return
      }
      const what = [...new Set(behind.map(({ fault }) => fault))].join(', ')
      history.violate('one cause, one incident', `${by} opened ${cause} ${before + 1} times in one: ${what}`)
    },
  }
}

/** An incident of a lost agent is over when the agent is back, and not when nobody knows of it any more. */
function anIncidentLastsAsItsCause({ timeline, settings, history, witness }: RuleParts): Rule {
  return {
    onClosed: ({ cause, kind, agent, openedAt }, by) => {
      if (kind !== 'silent' || agent === null) return
      const { last } = witness.heardAt(agent)
      if (last >= openedAt - settings.watch.lateAfterMs) return
      const unheard = seconds(timeline.now - last)
      history.violate('an incident lasts as its cause', `${by} closed ${cause}, which was not heard for ${unheard}`)
    },
  }
}

/** Promise 7: that all miss the beats that nobody collects is the bridge's silence, and not theirs as well. */
function theBridgesSilenceIsNotTheirs({ history, settings, bridge }: RuleParts): Rule {
  return {
    onOpened: ({ cause }, by) => {
      const { idleMs } = bridge
      if (cause !== 'mass_silence' || idleMs < 0.7 * settings.watch.lateAfterMs) return
      const away = `when the bridge had been away for ${seconds(idleMs)}`
      history.violate('one cause, one incident', `${by} opened ${cause} ${away}`)
    },
  }
}

/** A clock that was wrong within this time is a reason for a host to take no credential: it is of another time. */
const CLOCK_MS = 12 * HOUR

/**
 * A conversation's lifetime bounds a token, not a worker: whoever the bridge does not believe is let in again soon, unless
 * something keeps it from its new credential. Where nobody issues any, those who beat all the time lose nothing.
 */
function nobodyIsKeptOut({ timeline, history, settings, lapses, lostLooks, onKnown }: RuleParts): Rule {
  const others = (agent: string | null, withinMs: number): Lapse[] =>
    lapses.behind(agent, withinMs).filter(({ fault }) => fault !== KEPT_OUT)
  const hasReason = (agent: string): boolean => {
    const soon = aftermathMs(settings)
    if (others(agent, soon).length > 0) return true
    // its partner may be the one who did not beat
    const mayEnd = agent === 'orchestrator' || others(agent, LIFETIME_MS + soon).length > 0
    return mayEnd && others(null, soon).some(({ fault }) => fault === 'issuer away')
  }
  // where no hint came, it is let in by its next look; what the network loses of its looks is a poll each
  const soonMs = (agent: string, withinMs: number): number =>
    4 * settings.host.beatMs + lostLooks(agent, withinMs) * settings.host.credentialPollMs
  return {
    onLapseOver: ({ fault, touches, from }) => {
      const [agent] = touches
      const ms = timeline.now - from
      if (fault !== KEPT_OUT || agent === undefined || ms < soonMs(agent, ms) || hasReason(agent)) return
      if (others(null, CLOCK_MS).some((lapse) => /clock/.test(lapse.fault))) {
        return onKnown('a credential of another time')
      }
      history.violate('nobody is kept out', `${agent} was not believed for ${seconds(ms)}, and nothing had been wrong`)
    },
  }
}

function seconds(ms: number): string {
  return `${Math.round(ms / 1000)} s`
}
