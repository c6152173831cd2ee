/** How a row of the bench is judged, and how it is told: bounds of its own, and multiples of what others took. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Machine } from './machine.ts'
import { isMet, multiplesOf, type Row } from './row.ts'
import { tableText } from './table.ts'

const ROW: Row = {
  what: 'push',
  reach: { missed: 0 },
  reachOf: { p50Ms: { C: 3, ladder: 1.2 }, p99Ms: { C: 2 } },
  ours: { p50Ms: 0.2, p99Ms: 1.5, missed: 0 },
  beside: { C: { p50Ms: 0.1, p99Ms: 1 }, ladder: { p50Ms: 0.25, p99Ms: 9 } },
}

const MACHINE: Machine = {
  load: 0.1,
  cores: 2,
  cpu: 'any',
  memoryGb: 8,
  kernel: '6',
  node: 'v24',
  sqlite: '3',
  python: '3',
  pythonSqlite: '3',
  fileSystem: 'ext4',
  fsyncP50Ms: 1,
}

test('a row is met when its own bounds and all multiples hold', () => {
  assert.equal(isMet(ROW), true)
  assert.equal(isMet({ ...ROW, ours: { ...ROW.ours, missed: 1 } }), false)
  assert.equal(isMet({ ...ROW, ours: { ...ROW.ours, p50Ms: 0.31 } }), false, 'more than three times what C took')
  assert.equal(isMet({ ...ROW, ours: { ...ROW.ours, p99Ms: 2.1 } }), false)
  assert.equal(isMet({ ...ROW, ours: { missed: 0 } }), false, 'a figure that is missing is none that was reached')
})

test('a multiple of a speed is bounded below', () => {
  const row: Row = { what: 'sends', reach: {}, reachOf: { sendsPerS: { C: 0.5 } }, ours: { sendsPerS: 60 } }
  assert.equal(isMet({ ...row, beside: { C: { sendsPerS: 100 } } }), true)
  assert.equal(isMet({ ...row, beside: { C: { sendsPerS: 200 } } }), false)
})

test('a rival that was not measured bounds nothing', () => {
  const { C: _, ...rest } = ROW.beside ?? {}
  const row = { ...ROW, beside: rest }
  assert.deepEqual(
    multiplesOf(row).map(({ rival }) => rival),
    ['ladder'],
  )
  assert.equal(isMet({ ...row, ours: { p50Ms: 0.3, p99Ms: 99, missed: 0 } }), true)
  assert.equal(isMet({ what: 'nobody beside', reach: {}, reachOf: ROW.reachOf ?? {}, ours: { p50Ms: 1 } }), null)
})

test('the table tells multiples with their bounds, first of all', () => {
  const line = tableText(MACHINE, [ROW])
    .split('\n')
    .find((each) => each.includes('missed 0'))
  assert.match(line ?? '', /^p50 2 × C \(≤ 3\), p50 0\.8 × ladder \(≤ 1\.2\), p99 1\.5 × C \(≤ 2\) {2}push .* yes$/)
})
