/** The version in package.json, repeated here because a bundle has no package.json beside it; a test compares the two. */
export const VERSION = '0.1.0'
