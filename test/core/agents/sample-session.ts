import type { ClientSession } from '#agents/client-session.ts'

/** A session of Claude Code that idles, with what a test says of it. */
export function sampleSession(fields: Partial<ClientSession> = {}): ClientSession {
  return {
    client: 'claude',
    id: '853e3a81-45b7-45cc-8dc4-d26e6873af00',
    session: 'conv_00000000000000aa/b',
    process: null,
    sharesProcess: false,
    folder: '/tmp',
    transcript: null,
    version: '2.1.332',
    permissionMode: 'default',
    inboxSocket: null,
    pane: null,
    activity: { state: 'idle', what: null, until: null },
    since: 0,
    heardAt: 1_750_000_000_000,
    signs: 0,
    unseen: [],
    wakesRead: [],
    ...fields,
  }
}
