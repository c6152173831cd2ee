import { join } from 'node:path'
import type { ObservedBeats } from '#fleet/beat.ts'
import type { OpenedConversation } from '#fleet/conversation.ts'
import { workerName } from '#fleet/credential.ts'
import { publishCredential } from '#spool/credentials.ts'
import type { BenchBridge } from './bridge.ts'
import { type Actor, type Stage, until } from './stage.ts'

/** A worker's host: a state folder of its own with credentials, and the keepalive that carries its mail. */
export interface WorkerHost {
  readonly state: string
  readonly keepalive: Actor
}

const LIFETIME_MS = 3 * 3_600_000

/** An agent for each conversation works there. Resolves when the bridge has heard all of them. */
export async function startWorkerHost(
  stage: Stage,
  bridge: BenchBridge,
  ...conversations: readonly OpenedConversation[]
): Promise<WorkerHost> {
  const state = await stage.room('worker')
  const now = Date.now()
  for (const [index, { id, tokens }] of conversations.entries()) {
    await publishCredential(state, {
      session: `${id}/b`,
      token: tokens.b,
      agent: workerName(index + 1),
      role: 'worker',
      bridgeUrl: bridge.url,
      createdAt: now,
      expiresAt: now + LIFETIME_MS,
    })
  }
  const keepalive = stage.start('other', stage.program('keepalive'), {
    S2_STATE: state,
    S2_HOST: 'bench-host',
    S2_LOG_LEVEL: 'warn',
  })
  const areHeard = async (): Promise<boolean> => {
    const { pulses } = (await bridge.ask('pulses', { after: 0 })) as ObservedBeats
    return conversations.every(({ id }) => pulses.some(({ session }) => session === `${id}/b`))
  }
  await until('the worker host beats', areHeard, keepalive)
  return { state, keepalive }
}

/** Where the health of one of our programs is asked. */
export function healthSocket(state: string, program: string): string {
  return join(state, 'run', `${program}.sock`)
}
