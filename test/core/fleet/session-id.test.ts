import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  CONVERSATION_PREFIX,
  conversationOf,
  isConversationId,
  isObserver,
  OBSERVER_PREFIX,
  parseSession,
  partnerOf,
  sessionId,
  sideOf,
} from '#fleet/session-id.ts'

const CONVERSATION = 'conv_0123456789abcdef'

test('a session id is a conversation and one of its two sides', () => {
  assert.equal(sessionId(CONVERSATION, 'a'), `${CONVERSATION}/a`)
  for (const side of ['a', 'b'] as const) {
    const session = sessionId(CONVERSATION, side)
    assert.deepEqual(parseSession(session), { conversation: CONVERSATION, side })
    assert.deepEqual([conversationOf(session), sideOf(session)], [CONVERSATION, side])
    assert.equal(partnerOf(partnerOf(session)), session)
  }
  assert.equal(partnerOf(sessionId(CONVERSATION, 'a')), `${CONVERSATION}/b`)
  assert.deepEqual(parseSession('x/b'), { conversation: 'x', side: 'b' }, 'other writers make ids of any length')
})

test('whatever is no session id is refused, with an example of one, and shown no longer than a line', () => {
  const none = ['', '/', 'a', 'b', '/a', '/b', CONVERSATION, 'aa', 'xxa', `${CONVERSATION}/`, `${CONVERSATION}/c`]
  const odd = [`${CONVERSATION}/A`, `${CONVERSATION}/a `, `${CONVERSATION}/a/b`, '../../x/b', 'grüße/a', 'two words/a']
  for (const text of [...none, ...odd, `${'x'.repeat(65)}/a`]) {
    assert.throws(() => parseSession(text), {
      code: 'invalid',
      message: /^not a session id: "/,
      next: /conv_0123456789abcdef\/b/,
    })
  }
  assert.throws(
    () => parseSession('x'.repeat(10_000)),
    ({ message }: Error) => message.length < 110,
  )
})

test('an id of a conversation has 1 to 64 letters, digits, dashes and underscores', () => {
  for (const text of ['x', CONVERSATION, 'A-Z_09', 'x'.repeat(64)]) assert.ok(isConversationId(text), text)
  for (const text of ['', 'x'.repeat(65), 'a/b', 'a b', 'a\n', '.']) assert.ok(!isConversationId(text), text)
})

test('an observer is known by its id alone', () => {
  assert.ok(isObserver(`${OBSERVER_PREFIX}0123456789abcdef/b`))
  assert.ok(!isObserver(`${CONVERSATION_PREFIX}0123456789abcdef/b`))
  assert.ok(!isObserver(`conv_${OBSERVER_PREFIX}/b`), 'only where it begins so')
})
