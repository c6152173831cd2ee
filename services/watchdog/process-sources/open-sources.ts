import type { Clock } from '#runtime/clock.ts'
import type { ProcessSourcesConfig } from '../config.ts'
import { openDocker } from './docker.ts'
import type { ProcessSource } from './read-source.ts'
import { SystemdSource } from './systemd.ts'
import { TmuxSource } from './tmux.ts'

/** The supervisors that are configured. None is reached for yet: one that is away at the start is away like any other. */
export async function openSources(
  { docker, tmux, units, unitsManager, restartsUnits, env }: ProcessSourcesConfig,
  clock: Clock,
): Promise<ProcessSource[]> {
  return [
    ...(docker === null ? [] : [await openDocker(docker, clock)]),
    ...(units.length === 0
      ? []
      : [new SystemdSource({ manager: unitsManager, units, mayStart: restartsUnits }, env, clock)]),
    ...(tmux === null ? [] : [new TmuxSource(tmux, env, clock)]),
  ]
}
