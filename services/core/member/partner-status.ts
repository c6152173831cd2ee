import { S2Error } from '#fleet/errors.ts'
import { conversationOf, partnerOf, type SessionId, sideOf } from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'
import type { Store } from '#store/store.ts'
import type { PartnerStatus } from './member.ts'

/** How the other end of a session's conversation is, as far as a store knows. */
export async function partnerStatus(
  store: Pick<Store, 'conversations' | 'verdicts' | 'lastStatus'>,
  session: SessionId,
  clock: Pick<Clock, 'wall'>,
): Promise<PartnerStatus> {
  const partner = partnerOf(session)
  const found = (await store.conversations()).find(({ id }) => id === conversationOf(session))
  const agent = found?.agents[sideOf(partner)] ?? partner
  const verdict = (await store.verdicts()).verdicts.find((each) => each.agent === agent)
  const last = await orUnknown(store.lastStatus(partner))
  return {
    session: partner,
    agent,
    role: found?.roles[sideOf(partner)] ?? '',
    said: last === null ? null : { status: last.status, agoMs: Math.max(0, clock.wall() - last.heardAt) },
    verdict: verdict?.verdict ?? null,
    why: verdict?.why ?? null,
  }
}

/** A bridge of an earlier version keeps no statuses. */
async function orUnknown<T>(asked: Promise<T | null>): Promise<T | null> {
  try {
    return await asked
  } catch (error) {
    if (error instanceof S2Error && error.code === 'not_found') return null
    throw error
  }
}
