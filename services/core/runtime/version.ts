/** As in package.json; a test keeps them alike. Written here because a bundle has no package.json beside it. */
export const VERSION = '0.1.0'
