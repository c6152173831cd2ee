import type { ClientActivityState } from '#fleet/client-activity.ts'

/** Codes by which clients name the failure that ended a turn, where nobody may work there for a while or until a person has helped. */
const STATES: Readonly<Record<string, ClientActivityState>> = {
  rate_limit: 'parked',
  authentication_failed: 'logged_out',
  oauth_org_not_allowed: 'logged_out',
  account_on_hold: 'logged_out',
  verification_required: 'logged_out',
  billing_error: 'logged_out',
  cloud_credential_error: 'logged_out',
  ProviderAuthError: 'logged_out',
  overloaded: 'overloaded',
  server_error: 'overloaded',
}

/** The state in which a failure leaves its client; null for a code that tells of this one turn alone. */
export function stateAfterFailure(code: string | null): ClientActivityState | null {
  return code !== null && Object.hasOwn(STATES, code) ? (STATES[code] ?? null) : null
}
